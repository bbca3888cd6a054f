// GgufFile: a read-only model file, checked whole before anything of it is used.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3,
// little-endian)
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"
#include "engine/gguf/format.hpp"
#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// One tensor of the file. `shape` is slowest dimension first (the file stores it the other way
/// round): a weight matrix is [n_out, n_in], its rows contiguous and quantised along n_in.
struct GgufTensor {
  std::string name;
  QuantType type = QuantType::F32;
  std::vector<std::uint64_t> shape;  // 1 to 4 dimensions, none of them 0
  std::span<const std::byte> data;   // inside the mapped file; valid while the GgufFile lives

  std::uint64_t n_elements() const;
};

/// Owns the mapping. Immutable and thread-safe once opened.
/// The mapping follows the file: if another process shortens it while it is open, reading the lost
/// part raises SIGBUS, which no check here can prevent. Replace model files by renaming, never by
/// rewriting them in place.
class GgufFile {
 public:
  /// Maps and checks the file. Errors: kNotFound, kPermissionDenied, kInvalidArgument (not a GGUF
  /// file, one part of a split model, unknown version or type), kDataLoss (truncated or
  /// inconsistent); messages name the offending key, tensor or number.
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);
  /// The same over bytes in memory (tests, fuzzing). The bytes must outlive the GgufFile.
  static Result<std::unique_ptr<GgufFile>> parse(std::span<const std::byte> bytes);

  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  std::uint32_t version() const { return version_; }
  /// In the file's order.
  std::span<const GgufTensor> tensors() const { return tensors_; }
  /// Null if there is none of that name.
  const GgufTensor* find_tensor(std::string_view name) const;
  /// In the file's order.
  std::vector<std::string> keys() const;
  bool has(std::string_view key) const { return find_value(key) != nullptr; }

  // Typed reads. kNotFound if the key is absent, kInvalidArgument if it has another type or does
  // not fit. Any integer type of the file converts to the wider one asked for when the value fits;
  // any float type likewise.
  Result<std::uint64_t> get_uint(std::string_view key) const;
  Result<std::int64_t> get_int(std::string_view key) const;
  Result<double> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string_view> get_string(std::string_view key) const;
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;
  Result<std::vector<std::int64_t>> get_ints(std::string_view key) const;
  Result<std::vector<double>> get_floats(std::string_view key) const;
  /// A short printable form of any value, for `show` (long strings and arrays are abbreviated);
  /// empty if the key is absent.
  std::string describe(std::string_view key) const;

  std::uint64_t file_bytes() const { return bytes_.size(); }
  /// The whole file.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// What was read of a mapped file no longer counts as this process's memory; reading brings it
  /// back. Spans stay valid.
  void release_pages() const {
    if (mapping_) mapping_->release_pages();
  }
  /// See MappedFile.
  void expect_random_reads() const {
    if (mapping_) mapping_->expect_random_reads();
  }

 private:
  /// A metadata value as it lies in the file; its lengths have been checked.
  struct Value {
    std::string_view key;
    gguf::ValueType type;  // an array's type is that of its elements
    bool is_array;
    std::uint64_t n_elements;  // 1 for scalars
    std::span<const std::byte> bytes;
  };
  struct Loader;  // fills a GgufFile from bytes

  GgufFile() = default;
  const Value* find_value(std::string_view key) const;
  Result<const Value*> require(std::string_view key, bool is_array, std::string_view wanted) const;

  std::optional<MappedFile> mapping_;  // none if the bytes belong to somebody else
  std::span<const std::byte> bytes_;
  std::uint32_t version_ = 0;
  std::vector<Value> values_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> values_by_key_;    // indices, sorted by key
  std::vector<std::uint32_t> tensors_by_name_;  // indices, sorted by name
};

}  // namespace deepwell::engine
