// Anonymous files in memory and the mapped crash page.
#include "cluster/supervisor/slot_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {
constexpr std::size_t kCrashPageBytes = 4096;
}  // namespace

Result<ScopedFd> make_memfd(const std::string& name) {
  ScopedFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.is_open()) return errno_error(errno, "make shared memory", name);
  return fd;
}

Result<SlotMemory> SlotMemory::create(std::uint32_t worker) {
  SlotMemory memory;
  DW_ASSIGN(memory.crash_fd_, make_memfd(concat("deepwell-crash-", worker)));
  DW_ASSIGN(memory.kv_fd_, make_memfd(concat("deepwell-kv-", worker)));
  // Sealed: a worker that shrank it would take the supervisor along when that reads its mapping.
  if (::ftruncate(memory.crash_fd(), kCrashPageBytes) != 0 ||
      ::fcntl(memory.crash_fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return errno_error(errno, "size", "the crash page");
  }
  void* const page =
      ::mmap(nullptr, kCrashPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.crash_fd(), 0);
  if (page == MAP_FAILED) return errno_error(errno, "map", "the crash page");
  memory.page_ = static_cast<engine::CrashPage*>(page);  // zeroed memory is an empty page
  return memory;
}

SlotMemory::SlotMemory(SlotMemory&& other) noexcept
    : crash_fd_(std::move(other.crash_fd_)),
      kv_fd_(std::move(other.kv_fd_)),
      page_(std::exchange(other.page_, nullptr)) {}

SlotMemory& SlotMemory::operator=(SlotMemory&& other) noexcept {
  std::swap(crash_fd_, other.crash_fd_);
  std::swap(kv_fd_, other.kv_fd_);
  std::swap(page_, other.page_);
  return *this;
}

SlotMemory::~SlotMemory() {
  if (page_ != nullptr) ::munmap(page_, kCrashPageBytes);
}

std::vector<std::uint64_t> SlotMemory::take_suspects() {
  std::vector<std::uint64_t> suspects = page_->read();
  page_->n_tags.store(0, std::memory_order_release);
  return suspects;
}

}  // namespace deepwell::cluster
