// Opening listening sockets and accepting from them.
#include "net/listener.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/concat.hpp"

namespace deepwell::net {

using boost::asio::ip::tcp;

namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kPauseAfterFailure{100};

std::string errno_text(int code) { return std::generic_category().message(code); }

Result<tcp::endpoint> local_endpoint(int fd) {
  tcp::endpoint endpoint;
  auto len = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(fd, endpoint.data(), &len) != 0) {
    return invalid_argument(concat("descriptor ", fd, " is not a socket: ", errno_text(errno)));
  }
  const int family = endpoint.data()->sa_family;
  if (family != AF_INET && family != AF_INET6) {
    return invalid_argument(concat("descriptor ", fd, " is not a TCP socket"));
  }
  return endpoint;
}

Error bind_error(const std::string& host, std::uint16_t port, int code) {
  const std::string where = concat(host, ":", port);
  if (code == EADDRINUSE) {
    return {Code::kAlreadyExists,
            concat("cannot listen on ", where,
                   ": another program uses this port; stop it, or choose another "
                   "port (0 lets the system choose)")};
  }
  if (code == EACCES) {
    return {Code::kPermissionDenied,
            concat("cannot listen on ", where,
                   ": not permitted; ports below 1024 need privileges, choose a higher one")};
  }
  if (code == EADDRNOTAVAIL) {
    return invalid_argument(
        concat("cannot listen on ", where,
               ": this machine has no such address; 127.0.0.1 serves this machine "
               "only, 0.0.0.0 every network"));
  }
  return unavailable(concat("cannot listen on ", where, ": ", errno_text(code)));
}

Result<boost::asio::ip::address> parse_host(const std::string& host) {
  if (host == "localhost") return boost::asio::ip::make_address("127.0.0.1");
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  boost::system::error_code error;
  const auto address =
      boost::asio::ip::make_address(is_bracketed ? host.substr(1, host.size() - 2) : host, error);
  if (error) {
    return invalid_argument(concat("cannot listen on \"", host,
                                   "\": not an IP address; use 127.0.0.1, 0.0.0.0, ::1 or ::"));
  }
  return address;
}

}  // namespace

Result<ListenSocket> open_listen_socket(const std::string& host, std::uint16_t port) {
  DW_ASSIGN(const auto address, parse_host(host));
  const tcp::endpoint endpoint(address, port);
  ScopedFd fd(
      ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) return bind_error(host, port, errno);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return bind_error(host, port, errno);
  }
  DW_ASSIGN(const auto bound, local_endpoint(fd.get()));
  return ListenSocket{std::move(fd), bound};
}

Result<ListenSocket> adopt_listen_socket(int number) {
  ScopedFd fd(number);
  DW_ASSIGN(const auto endpoint, local_endpoint(fd.get()));
  int is_listening = 0;
  socklen_t len = sizeof is_listening;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len);
  if (is_listening == 0) {
    return invalid_argument(concat("descriptor ", number, " is a socket that does not listen"));
  }
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  return ListenSocket{std::move(fd), endpoint};
}

Listener::Listener(EventLoop& loop, ListenSocket socket, Log& log, OnAccept on_accept)
    : loop_(loop),
      log_(log),
      acceptor_(loop.context(), socket.endpoint.protocol(), socket.fd.get()),
      on_accept_(std::move(on_accept)) {
  (void)socket.fd.release();
}

void Listener::accept_next() {
  acceptor_.async_wait(tcp::acceptor::wait_read, [this](boost::system::error_code error) {
    if (!error && acceptor_.is_open()) accept_waiting();
  });
}

// By accept4(): Asio's own accept would leave a moment in which a child could inherit the
// descriptor.
void Listener::accept_waiting() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    tcp::endpoint peer;
    auto len = static_cast<socklen_t>(peer.capacity());
    ScopedFd fd(
        ::accept4(acceptor_.native_handle(), peer.data(), &len, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.get() >= 0) {
      on_accept_(std::move(fd), peer);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    // Out of descriptors or memory: connections wait in the backlog until some are free.
    log_.warn("cannot accept a connection: ", errno_text(errno), "; trying again");
    loop_.post_at(std::chrono::steady_clock::now() + kPauseAfterFailure, [this] {
      if (acceptor_.is_open()) accept_next();
    });
    return;
  }
  accept_next();
}

void Listener::close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
}

}  // namespace deepwell::net
