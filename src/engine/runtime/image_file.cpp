// Room and permission for the image on disk.
#include "engine/runtime/image_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint64_t kKeptFreeBytes = std::uint64_t{1} << 30;

/// Bytes that the disk lacks for an image; 0 if there is room. Packed, a model is at most an eighth larger.
std::uint64_t lacking_bytes(const std::string& directory, std::uint64_t n_model_bytes) {
  const Result<std::uint64_t> n_free = free_disk_bytes(directory);
  if (!n_free) return 0;  // opening will tell
  const std::uint64_t n_needed = n_model_bytes + n_model_bytes / 8 + kKeptFreeBytes;
  return *n_free >= n_needed ? 0 : n_needed - *n_free;
}

/// Whether what lies there can leave memory (statfs(2): tmpfs and ramfs cannot).
bool lies_on_disk(int fd) {
  constexpr long kTmpfs = 0x01021994, kRamfs = 0x858458f6;
  struct ::statfs system {};
  return ::fstatfs(fd, &system) != 0 || (system.f_type != kTmpfs && system.f_type != kRamfs);
}

}  // namespace

std::string image_path(const std::string& directory, const std::string& content_sha256) {
  return join_path(directory, concat(content_sha256, ".packed"));
}

ImageFile open_image_file(const std::string& directory, const std::string& content_sha256,
                          std::uint64_t n_model_bytes, Log& log) {
  ImageFile image{.path = image_path(directory, content_sha256)};
  struct ::stat file {};
  const bool is_there = ::stat(image.path.c_str(), &file) == 0 && file.st_size > 0;
  const std::uint64_t n_lacking = is_there ? 0 : lacking_bytes(directory, n_model_bytes);
  if (n_lacking > 0) {
    log.info("no packed image is kept: ", directory, " lacks ", n_lacking >> 20,
             " MiB for it; the model is packed at every start");
    return image;
  }
  image.fd = ScopedFd(::open(image.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!image.fd.is_open()) {
    log.warn("no packed image is kept: cannot open ", image.path, ": ", std::strerror(errno),
             "; the model is packed at every start");
  }
  image.is_on_disk = image.fd.is_open() && lies_on_disk(image.fd.get());
  return image;
}

}  // namespace deepwell::engine
