// A blocking GET over a non-blocking socket.
#include "apps/drill_probe.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "apps/load_parser.hpp"
#include "apps/load_stream.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::apps {

namespace {

using Clock = std::chrono::steady_clock;

Status wait_for(int fd, short events, SteadyTime deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd watched{fd, events, 0};
    const int n = left <= 0 ? 0 : ::poll(&watched, 1, static_cast<int>(left));
    if (n > 0) return {};
    if (n == 0) return Error{Code::kDeadlineExceeded, "the server did not answer in time"};
    if (errno != EINTR) return errno_error(errno, "wait for", "the server");
  }
}

}  // namespace

Result<ProbeAnswer> probe_http(const LoadTarget& target, const std::string& path,
                               std::chrono::milliseconds limit) {
  const SteadyTime deadline = Clock::now() + limit;
  DW_ASSIGN(const LoadAddress address, resolve_target(target));
  const ScopedFd fd(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return errno_error(errno, "open", "a socket");
  const auto* where = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(fd.get(), where, address.n_bytes) != 0 && errno != EINPROGRESS) {
    return errno_error(errno, "connect to", target.host);
  }
  DW_TRY(wait_for(fd.get(), POLLOUT, deadline));
  const std::string request =
      concat("GET ", path, " HTTP/1.1\r\nHost: ", target.host, ":", target.port,
             "\r\nConnection: close\r\n\r\n");  // shorter than any socket's buffer
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return errno_error(errno, "send to", target.host);
  }
  EventStreamParser parser;
  std::array<char, 16 * 1024> buffer;
  while (!parser.is_whole()) {
    DW_TRY(wait_for(fd.get(), POLLIN, deadline));
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (n == 0) break;
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      return errno_error(errno, "read from", target.host);
    }
    DW_TRY(parser.feed({buffer.data(), static_cast<std::size_t>(n)}, [](const StreamEvent&) {}));
  }
  if (!parser.has_head()) return unavailable("the server closed the connection without an answer");
  return ProbeAnswer{parser.status(), parser.text()};
}

}  // namespace deepwell::apps
