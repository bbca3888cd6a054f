// ScopedFd: owns a file descriptor.
#pragma once

#include <unistd.h>

#include <utility>

namespace deepwell {

class ScopedFd {
 public:
  ScopedFd() = default;
  explicit ScopedFd(int fd) : fd_(fd) {}
  ScopedFd(ScopedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ScopedFd& operator=(ScopedFd&& other) noexcept {
    ScopedFd old(
        std::exchange(fd_, std::exchange(other.fd_, -1)));  // closed here, not when `other` ends
    return *this;
  }
  ~ScopedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset() { *this = ScopedFd(); }

 private:
  int fd_ = -1;
};

}  // namespace deepwell
