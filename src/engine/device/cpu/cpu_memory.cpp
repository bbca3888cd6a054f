// Mapping and unmapping.
#include "engine/device/cpu/cpu_memory.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {

Result<CpuMemory> CpuMemory::allocate(std::size_t n_bytes) {
  void* data = ::mmap(nullptr, n_bytes == 0 ? 1 : n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return Error{Code::kResourceExhausted,
                 concat("cannot allocate ", n_bytes >> 20,
                        " MiB; use a smaller model, context (--ctx-size) or batch")};
  }
  CpuMemory memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.n_bytes_ = n_bytes == 0 ? 1 : n_bytes;
  return memory;
}

Result<CpuMemory> CpuMemory::map_shared(int fd, std::uint64_t offset, std::size_t n_bytes,
                                        Access access) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = ::mmap(nullptr, n_bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return errno_error(errno, "map", "a shared memory file");
  CpuMemory memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.n_bytes_ = n_bytes;
  return memory;
}

void CpuMemory::make_read_only() { ::mprotect(data_, n_bytes_, PROT_READ); }

CpuMemory::~CpuMemory() {
  if (data_ != nullptr) ::munmap(data_, n_bytes_);
}

CpuMemory::CpuMemory(CpuMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), n_bytes_(std::exchange(other.n_bytes_, 0)) {}

CpuMemory& CpuMemory::operator=(CpuMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

}  // namespace deepwell::engine
