// Page-aligned memory of the CPU device: weights, row buffers, the arena of keys and values.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.hpp"

namespace deepwell::engine {

/// An anonymous, zeroed mapping. Pages that were never touched take no memory.
class CpuMemory {
 public:
  CpuMemory() = default;
  /// Errors: kResourceExhausted with the size asked for.
  static Result<CpuMemory> allocate(std::size_t n_bytes);
  ~CpuMemory();
  CpuMemory(CpuMemory&& other) noexcept;
  CpuMemory& operator=(CpuMemory&& other) noexcept;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t n_bytes() const { return n_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t n_bytes_ = 0;
};

}  // namespace deepwell::engine
