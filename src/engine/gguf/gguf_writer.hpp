// GgufWriter: makes a GGUF (version 3) file of metadata and tensors.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/gguf/format.hpp"
#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// Collects keys and tensors in the order in which they are to stand in the file. Only `tensor
/// data` is not copied: it must live until write() or bytes() is done. Using a key or tensor name
/// twice makes a file that GgufFile refuses.
class GgufWriter {
 public:
  void add_uint32(std::string_view key, std::uint32_t value);
  void add_uint64(std::string_view key, std::uint64_t value);
  void add_int32(std::string_view key, std::int32_t value);
  void add_float32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_int32s(std::string_view key, std::span<const std::int32_t> values);
  void add_float32s(std::string_view key, std::span<const float> values);
  /// A value as it lies in a file, for copying keys and for tests. `payload`: for arrays the
  /// elements' type, their count and the elements.
  void add_raw(std::string_view key, gguf::ValueType type, std::span<const std::byte> payload);

  /// `shape` is slowest dimension first. Errors: kInvalidArgument if the data's length does not
  /// follow from type and shape, or the shape has no or more than four dimensions.
  Status add_tensor(std::string_view name, QuantType type, std::span<const std::uint64_t> shape,
                    std::span<const std::byte> data);

  /// Everything before the tensor data, padding included.
  std::vector<std::byte> header() const;
  /// The whole file.
  std::vector<std::byte> bytes() const;
  /// Writes `path` whole, under a temporary name until it is complete.
  Status write(const std::string& path) const;

 private:
  struct Tensor {
    std::string name;
    QuantType type;
    std::vector<std::uint64_t> shape;
    std::span<const std::byte> data;
  };

  std::vector<std::byte> values_;  // the keys as they will lie in the file
  std::uint64_t n_values_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace deepwell::engine
