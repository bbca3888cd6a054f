// Page-aligned memory of the CPU device: weights, row buffers, the arena of keys and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"

namespace deepwell::engine {

/// A mapping of its own: anonymous and zeroed, or part of a shared memory file. Pages that were never touched take no
/// memory.
class CpuMemory {
 public:
  CpuMemory() = default;
  /// Errors: kResourceExhausted with the size asked for.
  static Result<CpuMemory> allocate(std::size_t n_bytes);

  enum class Access : std::uint8_t { kRead, kReadWrite };
  /// Part of the file `fd`, shared with whoever else maps it. `offset` is a multiple of the page size; the file must
  /// reach to offset + n_bytes and must not be shortened.
  static Result<CpuMemory> map_shared(int fd, std::uint64_t offset, std::size_t n_bytes,
                                      Access access = Access::kReadWrite);
  /// From now on writing to it is a fault.
  void make_read_only();
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
