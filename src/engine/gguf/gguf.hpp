// GgufFile: a read-only model file, checked whole before anything of it is used.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian)
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// One tensor of the file. `shape` is slowest dimension first (the file stores it the other way round):
/// a weight matrix is [n_out, n_in], its rows contiguous and quantised along n_in.
struct GgufTensor {
  std::string name;
  QuantType type = QuantType::F32;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> data;  // inside the mapped file; valid while the GgufFile lives

  std::uint64_t n_elements() const;
};

/// Owns the mapping. Immutable and thread-safe once opened.
class GgufFile {
 public:
  /// Maps and checks the file. Errors: kNotFound, kInvalidArgument (not a GGUF file, unknown version or type),
  /// kDataLoss (truncated or inconsistent); messages name the offending key, tensor or number.
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);
  /// The same over bytes in memory (tests, fuzzing). The bytes must outlive the GgufFile.
  static Result<std::unique_ptr<GgufFile>> parse(std::span<const std::byte> bytes);

  virtual ~GgufFile() = default;

  virtual std::uint32_t version() const = 0;
  virtual std::span<const GgufTensor> tensors() const = 0;
  virtual const GgufTensor* find_tensor(std::string_view name) const = 0;
  virtual std::vector<std::string> keys() const = 0;
  virtual bool has(std::string_view key) const = 0;

  // Typed reads. kNotFound if the key is absent, kInvalidArgument if it has another type or does not fit.
  // Any integer type of the file converts to the wider one asked for when the value fits.
  virtual Result<std::uint64_t> get_uint(std::string_view key) const = 0;
  virtual Result<std::int64_t> get_int(std::string_view key) const = 0;
  virtual Result<double> get_float(std::string_view key) const = 0;
  virtual Result<bool> get_bool(std::string_view key) const = 0;
  virtual Result<std::string_view> get_string(std::string_view key) const = 0;
  virtual Result<std::vector<std::string_view>> get_strings(std::string_view key) const = 0;
  virtual Result<std::vector<std::int64_t>> get_ints(std::string_view key) const = 0;
  virtual Result<std::vector<double>> get_floats(std::string_view key) const = 0;
  /// A short printable form of any value, for `show` (arrays are abbreviated).
  virtual std::string describe(std::string_view key) const = 0;

  virtual std::uint64_t file_bytes() const = 0;
};

}  // namespace deepwell::engine
