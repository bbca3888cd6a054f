// Listening sockets: opened with messages that help, accepted close-on-exec. Internal to net.
#pragma once

#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <string>
#include <utility>

#include "base/log.hpp"
#include "base/result.hpp"
#include "net/event_loop.hpp"

namespace deepwell::net {

/// Owns a file descriptor.
class ScopedFd {
 public:
  ScopedFd() = default;
  explicit ScopedFd(int fd) : fd_(fd) {}
  ScopedFd(ScopedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ScopedFd& operator=(ScopedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ScopedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

struct ListenSocket {
  ScopedFd fd;
  boost::asio::ip::tcp::endpoint endpoint;  // with the port the kernel chose
};

/// Binds and listens, with SO_REUSEADDR and close-on-exec.
Result<ListenSocket> open_listen_socket(const std::string& host, std::uint16_t port);
/// Takes an open one.
Result<ListenSocket> adopt_listen_socket(int fd);

/// Accepts on `loop` until closed. Every member is called on that loop's thread.
class Listener {
 public:
  using OnAccept = std::function<void(ScopedFd, boost::asio::ip::tcp::endpoint peer)>;
  Listener(EventLoop& loop, ListenSocket socket, Log& log, OnAccept on_accept);

  void accept_next();
  void close();

 private:
  void accept_waiting();

  EventLoop& loop_;
  Log& log_;
  boost::asio::ip::tcp::acceptor acceptor_;
  OnAccept on_accept_;
};

}  // namespace deepwell::net
