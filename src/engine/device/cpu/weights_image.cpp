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
constexpr std::uint32_t kLayoutVersion = 3;  // of this file and of the packed blocks (packed.hpp)
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

/// The label follows its weight's bytes, and the checksums of its parts the label.
constexpr std::uint64_t label_offset(std::uint64_t n_bytes) { return (n_bytes + 63) / 64 * 64; }
constexpr std::uint64_t extent_of(const WeightLabel& label) {
  const std::uint64_t n_used =
      label_offset(label.n_bytes) + sizeof label + label.n_parts * sizeof(std::uint64_t);
  return (n_used + kPage - 1) / kPage * kPage;
}

bool read_all(int fd, std::uint64_t at, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
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
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // labels are read one here, one there
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
      n_weights_(other.n_weights_),
      bytes_(std::move(other.bytes_)) {}

WeightsImage& WeightsImage::operator=(WeightsImage&& other) noexcept {
  std::swap(fd_, other.fd_);
  is_complete_ = other.is_complete_;
  n_bytes_ = other.n_bytes_;
  n_weights_ = other.n_weights_;
  std::swap(bytes_, other.bytes_);
  return *this;
}

Result<ImagePlace> WeightsImage::next(const WeightLabel& label) {
  const std::uint64_t label_at = n_bytes_ + label_offset(label.n_bytes);
  ImagePlace place{.begin = n_bytes_, .sums_begin = label_at + sizeof label};
  if (is_complete_) {
    WeightLabel found;
    place.sums.resize(label.n_parts);
    const bool is_there = read(label_at, std::as_writable_bytes(std::span(&found, 1))) &&
                          found == label &&
                          read(place.sums_begin, std::as_writable_bytes(std::span(place.sums)));
    if (!is_there)
      return data_loss(concat("the weights image has another weight at number ", n_weights_));
  } else {
    DW_TRY(write(label_at, std::as_bytes(std::span(&label, 1)), AfterWriting::kKeep));
  }
  n_bytes_ += extent_of(label);
  ++n_weights_;
  return place;
}

bool WeightsImage::read(std::uint64_t at, std::span<std::byte> bytes) const {
  return read_all(fd_, at, bytes);
}

Status WeightsImage::write(std::uint64_t at, std::span<const std::byte> bytes,
                           AfterWriting then) const {
  const auto begin = static_cast<off_t>(at);
  const auto n_all = static_cast<off_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return data_loss(concat("no room for the weights image: ", std::strerror(errno)));
    at += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  // Advice: where it fails, complete() waits for the disk, and the kernel finds pages to drop by itself.
  if (then == AfterWriting::kKeep) {
    ::sync_file_range(fd_, begin, n_all, SYNC_FILE_RANGE_WRITE);
  } else {
    ::sync_file_range(
        fd_, begin, n_all,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    ::posix_fadvise(fd_, begin, n_all, POSIX_FADV_DONTNEED);
  }
  return {};
}

Status WeightsImage::complete() {
  Header header{};
  if (!read(0, std::as_writable_bytes(std::span(&header, 1))))
    return errno_error(errno, "read", "the weights image");
  if (is_complete_ && (header.n_bytes != n_bytes_ || header.n_weights != n_weights_)) {
    return data_loss(
        concat("the weights image has ", header.n_weights, " weights, the model ", n_weights_));
  }
  if (!is_complete_) {
    if (::ftruncate(fd_, static_cast<off_t>(n_bytes_)) != 0 || ::fdatasync(fd_) != 0)
      return errno_error(errno, "write", "the weights image");
    header.n_bytes = n_bytes_;
    header.n_weights = n_weights_;
    header.is_complete = 1;
    DW_TRY(write(0, std::as_bytes(std::span(&header, 1)), AfterWriting::kKeep));
    is_complete_ = true;
    DW_TRY(set_lock(fd_, F_RDLCK, false));  // those who wait may read
  }
  DW_ASSIGN(bytes_, CpuMemory::map_shared(fd_, 0, n_bytes_, CpuMemory::Access::kRead));
  return {};
}

}  // namespace deepwell::engine
