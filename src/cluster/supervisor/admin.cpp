// The admin socket's two ends.
#include "cluster/supervisor/admin.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::size_t kMaxLineBytes = 4096;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return invalid_argument(concat("the path ", path, " is too long for a socket; the limit is ",
                                   sizeof address.sun_path - 1, " bytes"));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool send_line(int fd, std::string_view line) {
  line = line.substr(0, kMaxLineBytes);
  return ::send(fd, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

}  // namespace

Result<AdminSocket> AdminSocket::open(const std::string& path) {
  DW_ASSIGN(const sockaddr_un address, address_of(path));
  ScopedFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open() ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), static_cast<int>(kMaxClients)) != 0) {
    return errno_error(errno, "listen on", path);
  }
  return AdminSocket(std::move(fd));
}

std::vector<int> AdminSocket::fds() const {
  std::vector<int> fds{listener_.get()};
  for (const Client& client : clients_) fds.push_back(client.fd.get());
  return fds;
}

void AdminSocket::accept_clients(SteadyTime now) {
  for (;;) {
    ScopedFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.is_open()) return;
    if (clients_.size() >= kMaxClients) {
      (void)send_line(fd.get(), "error: too many askers at once; try again");
      continue;
    }
    clients_.push_back({std::move(fd), now});
  }
}

void AdminSocket::serve(const std::function<std::vector<std::string>(std::string_view)>& answer,
                        SteadyTime now) {
  accept_clients(now);
  // By index of a fixed order: `answer` may report() and so end clients that are kept.
  for (auto client = clients_.begin(); client != clients_.end();) {
    std::array<char, kMaxRequestBytes> request;
    const ssize_t n =
        ::recv(client->fd.get(), request.data(), request.size(), MSG_DONTWAIT | MSG_TRUNC);
    const bool is_quiet = n < 0 && (errno == EAGAIN || errno == EINTR);
    const bool may_wait = client->is_kept || now - client->since < kRequestLimit;
    if (is_quiet && may_wait) {
      ++client;
      continue;
    }
    if (n > 0 && !client->is_kept) {
      client->is_kept = true;  // before `answer`, which may report()
      const bool fits = n <= static_cast<ssize_t>(request.size());
      std::vector<std::string> lines =
          fits ? answer(std::string_view(request.data(), static_cast<std::size_t>(n)))
               : std::vector<std::string>{"error: the request is too long"};
      if (lines.empty()) {
        ++client;
        continue;
      }
      for (const std::string& line : lines) (void)send_line(client->fd.get(), line);
    }
    client = clients_.erase(client);
  }
}

void AdminSocket::report(std::string_view line, bool is_last) {
  for (Client& client : clients_) {
    if (!client.is_kept) continue;
    (void)send_line(client.fd.get(), line);
    // Not erased here: serve() may be walking the list. It finds the end at its next call.
    if (is_last) ::shutdown(client.fd.get(), SHUT_RDWR);
  }
}

Result<std::vector<std::string>> ask_supervisor(
    const std::string& run_directory, std::string_view request, std::chrono::milliseconds limit,
    const std::function<void(std::string_view)>& on_line) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + limit;
  const std::string path = join_path(run_directory, "control.sock");
  DW_ASSIGN(const sockaddr_un address, address_of(path));
  const ScopedFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES) return errno_error(errno, "connect to", path);
    return unavailable(concat("no server answers at ", path, ": is `deepwell serve` running?"));
  }
  if (!send_line(fd.get(), request)) return errno_error(errno, "write to", path);
  std::vector<std::string> lines;
  for (;;) {
    std::array<char, kMaxLineBytes> line;
    const ssize_t n = ::recv(fd.get(), line.data(), line.size(), MSG_DONTWAIT);
    if (n > 0) {
      lines.emplace_back(line.data(), static_cast<std::size_t>(n));
      if (on_line) on_line(lines.back());
      continue;
    }
    if (n == 0) break;
    if (errno == ECONNRESET || errno == EINTR) continue;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) {
      return Error{Code::kDeadlineExceeded,
                   concat("no answer to \"", request, "\" within ", limit.count(), " ms")};
    }
    pollfd waited{fd.get(), POLLIN, 0};
    ::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
  }
  if (lines.empty()) return unavailable("the server ended before it answered");
  constexpr std::string_view kError = "error: ";
  if (lines.back().starts_with(kError)) {
    return Error{Code::kFailedPrecondition, lines.back().substr(kError.size())};
  }
  return lines;
}

}  // namespace deepwell::cluster
