// Accepting connections on an event loop.
#include "net/listener.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace deepwell::net {

using boost::asio::ip::tcp;

namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kPauseAfterFailure{100};

std::string errno_text(int code) { return std::generic_category().message(code); }

}  // namespace

tcp::endpoint endpoint_of(const ListenSocket& socket) {
  return {boost::asio::ip::make_address(socket.address), socket.port};
}

Listener::Listener(EventLoop& loop, ListenSocket socket, Log& log, OnAccept on_accept)
    : loop_(loop),
      log_(log),
      acceptor_(loop.context(), endpoint_of(socket).protocol(), socket.fd.get()),
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
