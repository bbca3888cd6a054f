// Binder: finds a model's tensors by name, proves their shapes and hands them to the device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/device/device.hpp"
#include "engine/gguf/gguf.hpp"

namespace deepwell::engine {

class Binder {
 public:
  Binder(const GgufFile& file, Device& device, std::function<void(double)> on_progress);

  // Errors: kInvalidArgument (missing, or another shape than the one asked for), kUnimplemented (type).
  Result<Weight> matrix(std::string_view name, std::uint32_t n_out, std::uint32_t n_in);
  Result<Vector> vector(std::string_view name, std::uint32_t n);
  /// None if the file has no such tensor.
  Result<Vector> optional_vector(std::string_view name, std::uint32_t n);
  Result<Weight> embedding(std::string_view name, std::uint32_t n_out, std::uint32_t n_in,
                           bool is_tied);
  bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }

  /// Names of the current layer: in_layer("attn_q.weight") is "blk.3.attn_q.weight".
  std::string in_layer(std::string_view name) const;
  void next_layer() { ++layer_; }

  /// Marks a tensor as read elsewhere.
  void mark_used(std::string_view name);
  /// Refuses a file with a tensor that nobody asked for: leaving out a bias would give wrong answers silently.
  Status check_all_used() const;

 private:
  Result<const GgufTensor*> find(std::string_view name, std::uint32_t n_out, std::uint32_t n_in);
  void report(const GgufTensor& tensor);

  const GgufFile& file_;
  Device& device_;
  std::function<void(double)> on_progress_;
  std::uint32_t layer_ = 0;
  std::uint64_t n_bytes_done_ = 0, n_bytes_ = 0;
  std::vector<bool> is_used_;  // [n_tensors]
};

}  // namespace deepwell::engine
