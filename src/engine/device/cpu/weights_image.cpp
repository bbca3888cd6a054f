// Who packs, who reads; and where the next weight lies.
#include "engine/device/cpu/weights_image.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint64_t kMagic = 0x4957'4C4C'4557'5044;  // "DPWELLWI" in memory
constexpr std::uint32_t kLayoutVersion = 2;  // of this file and of the packed blocks (packed.hpp)
constexpr std::uint64_t kPage = 4096;

/// In the first page. Written when packing begins, and again, whole, when it has ended.
struct Header {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t is_complete;
  std::uint64_t n_bytes, n_weights;
  char key[128];  // ends with zeros
};
static_assert(sizeof(Header) <= kPage);

/// The label follows its weight's bytes, and the checksum of those the label.
constexpr std::uint64_t label_offset(std::uint64_t n_bytes) { return (n_bytes + 63) / 64 * 64; }
constexpr std::uint64_t extent_of(std::uint64_t n_bytes) {
  return (label_offset(n_bytes) + sizeof(WeightLabel) + sizeof(std::uint64_t) + kPage - 1) / kPage *
         kPage;
}

Header header_of(std::string_view key) {
  Header header{.magic = kMagic, .layout_version = kLayoutVersion};
  std::copy_n(key.begin(), std::min(key.size(), sizeof header.key - 1), header.key);
  return header;
}

/// The header of a complete image with this key; none if it is anything else.
std::optional<Header> find_complete(int fd, std::string_view key) {
  Header found{};
  struct ::stat file {};
  if (::fstat(fd, &file) != 0 ||
      ::pread(fd, &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found)) {
    return std::nullopt;
  }
  Header wanted = header_of(key);
  wanted.is_complete = 1;
  wanted.n_bytes = static_cast<std::uint64_t>(file.st_size);
  wanted.n_weights = found.n_weights;
  if (std::memcmp(&found, &wanted, sizeof found) != 0) return std::nullopt;
  return found;
}

/// `type` is F_RDLCK, F_WRLCK or F_UNLCK. False if another process's lock is in the way.
Result<bool> set_lock(int fd, short type, bool may_wait) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  while (::fcntl(fd, may_wait ? F_SETLKW : F_SETLK, &lock) != 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EACCES) return false;
    return errno_error(errno, "lock", "the weights image");
  }
  return true;
}

}  // namespace

Result<std::optional<WeightsImage>> WeightsImage::open(int fd, std::string_view key) {
  // Readers of another model never let go; two that meet by chance do, within this time.
  constexpr int kAttempts = 50;
  constexpr auto kNap = std::chrono::milliseconds(10);
  for (int i = 0; i < kAttempts; ++i) {
    DW_TRY(set_lock(fd, F_RDLCK, true));
    if (find_complete(fd, key)) return std::optional(WeightsImage(fd, true));
    DW_TRY(set_lock(fd, F_UNLCK, false));
    DW_ASSIGN(const bool is_packer, set_lock(fd, F_WRLCK, false));
    if (is_packer && find_complete(fd, key)) {  // by somebody in the meantime
      DW_TRY(set_lock(fd, F_RDLCK, false));
      return std::optional(WeightsImage(fd, true));
    }
    if (is_packer) {
      WeightsImage image(fd, false);
      const Header header = header_of(key);
      if (::ftruncate(fd, 0) != 0 || ::ftruncate(fd, kPage) != 0 ||
          ::pwrite(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
        return errno_error(errno, "size", "the weights image");
      }
      return std::optional(std::move(image));
    }
    std::this_thread::sleep_for(kNap);
  }
  return std::optional<WeightsImage>();
}

WeightsImage::WeightsImage(int fd, bool is_complete)
    : fd_(fd), is_complete_(is_complete), n_bytes_(kPage) {}

WeightsImage::~WeightsImage() {
  if (fd_ >= 0) static_cast<void>(set_lock(fd_, F_UNLCK, false));
}

WeightsImage::WeightsImage(WeightsImage&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      is_complete_(other.is_complete_),
      n_bytes_(other.n_bytes_),
      n_weights_(other.n_weights_) {}

WeightsImage& WeightsImage::operator=(WeightsImage&& other) noexcept {
  std::swap(fd_, other.fd_);
  is_complete_ = other.is_complete_;
  n_bytes_ = other.n_bytes_;
  n_weights_ = other.n_weights_;
  return *this;
}

Result<CpuMemory> WeightsImage::next(const WeightLabel& label) {
  const std::uint64_t begin = n_bytes_;
  const std::uint64_t n_extent = extent_of(label.n_bytes);
  const std::uint64_t end = begin + n_extent;
  const auto label_at = static_cast<off_t>(begin + label_offset(label.n_bytes));
  if (is_complete_) {
    struct ::stat file {};
    WeightLabel found;
    const bool is_there = ::fstat(fd_, &file) == 0 &&
                          end <= static_cast<std::uint64_t>(file.st_size) &&
                          ::pread(fd_, &found, sizeof found, label_at) == sizeof found;
    if (!is_there || found != label)
      return data_loss(concat("the weights image has another weight at number ", n_weights_));
  } else {
    // Not a hole that is filled later: writing to a mapped page for which there is no room is fatal.
    if (const int error =
            ::posix_fallocate(fd_, static_cast<off_t>(begin), static_cast<off_t>(n_extent)))
      return data_loss(concat("no room for the weights image: ", std::strerror(error)));
    if (::pwrite(fd_, &label, sizeof label, label_at) != sizeof label)
      return errno_error(errno, "extend", "the weights image");
  }
  DW_ASSIGN(CpuMemory memory, CpuMemory::map_shared(fd_, begin, n_extent,
                                                    is_complete_ ? CpuMemory::Access::kRead
                                                                 : CpuMemory::Access::kReadWrite));
  n_bytes_ = end;
  sum_at_ = static_cast<std::uint64_t>(label_at) + sizeof label;
  ++n_weights_;
  return memory;
}

Status WeightsImage::check(std::uint64_t sum) {
  if (!is_complete_) {
    if (::pwrite(fd_, &sum, sizeof sum, static_cast<off_t>(sum_at_)) == sizeof sum) return {};
    return errno_error(errno, "write to", "the weights image");
  }
  std::uint64_t found = 0;
  if (::pread(fd_, &found, sizeof found, static_cast<off_t>(sum_at_)) == sizeof found &&
      found == sum)
    return {};
  return data_loss(concat("weight ", n_weights_ - 1, " of the weights image is damaged"));
}

Status WeightsImage::complete() {
  Header header{};
  if (::pread(fd_, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    return errno_error(errno, "read", "the weights image");
  if (is_complete_) {
    if (header.n_bytes == n_bytes_ && header.n_weights == n_weights_) return {};
    return data_loss(
        concat("the weights image has ", header.n_weights, " weights, the model ", n_weights_));
  }
  if (::fdatasync(fd_) != 0) return errno_error(errno, "write", "the weights image");
  header.n_bytes = n_bytes_;
  header.n_weights = n_weights_;
  header.is_complete = 1;
  if (::pwrite(fd_, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    return errno_error(errno, "complete", "the weights image");
  is_complete_ = true;
  DW_TRY(set_lock(fd_, F_RDLCK, false));  // those who wait may read
  return {};
}

}  // namespace deepwell::engine
