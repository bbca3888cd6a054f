// Opening listening TCP sockets with POSIX calls.
#include "base/listen_socket.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

#include "base/concat.hpp"

namespace deepwell {

namespace {

constexpr int kBacklog = 1024;

std::string errno_text(int code) { return std::generic_category().message(code); }

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

std::string address_text(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.any.sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text);
    return text;
  }
  ::inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text);
  char interface[IF_NAMESIZE];
  if (address.v6.sin6_scope_id == 0 ||
      ::if_indextoname(address.v6.sin6_scope_id, interface) == nullptr) {
    return text;
  }
  return concat(text, "%", interface);
}

Result<ListenSocket> describe(ScopedFd fd) {
  SocketAddress address{};
  socklen_t len = sizeof address;
  if (::getsockname(fd.get(), &address.any, &len) != 0) {
    return invalid_argument(
        concat("descriptor ", fd.get(), " is not a socket: ", errno_text(errno)));
  }
  const int family = address.any.sa_family;
  if (family != AF_INET && family != AF_INET6) {
    return invalid_argument(concat("descriptor ", fd.get(), " is not a TCP socket"));
  }
  const std::uint16_t port = ntohs(family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
  return ListenSocket{std::move(fd), address_text(address), port};
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

// IPv6 may carry the interface of a link-local address: "fe80::1%eth0" (RFC 4007, section 11).
bool parse_v6(std::string host, std::uint16_t port, sockaddr_in6& out) {
  out = {};
  if (const std::size_t percent = host.find('%'); percent != std::string::npos) {
    out.sin6_scope_id = ::if_nametoindex(host.c_str() + percent + 1);
    if (out.sin6_scope_id == 0) return false;
    host.resize(percent);
  }
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(port);
  return ::inet_pton(AF_INET6, host.c_str(), &out.sin6_addr) == 1;
}

Result<SocketAddress> parse_host(const std::string& host, std::uint16_t port) {
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::string bare = host == "localhost" ? "127.0.0.1"
                           : is_bracketed      ? host.substr(1, host.size() - 2)
                                               : host;
  SocketAddress address{};
  address.v4.sin_family = AF_INET;
  address.v4.sin_port = htons(port);
  if (::inet_pton(AF_INET, bare.c_str(), &address.v4.sin_addr) == 1) return address;
  if (parse_v6(bare, port, address.v6)) return address;
  return invalid_argument(concat("cannot listen on \"", host,
                                 "\": not an IP address; use 127.0.0.1, 0.0.0.0, ::1 or ::"));
}

}  // namespace

Result<ListenSocket> open_listen_socket(const std::string& host, std::uint16_t port) {
  DW_ASSIGN(const SocketAddress address, parse_host(host, port));
  ScopedFd fd(::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) return bind_error(host, port, errno);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const socklen_t len = address.any.sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6;
  if (::bind(fd.get(), &address.any, len) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return bind_error(host, port, errno);
  }
  return describe(std::move(fd));
}

Result<ListenSocket> adopt_listen_socket(int number) {
  DW_ASSIGN(ListenSocket socket, describe(ScopedFd(number)));
  int is_listening = 0;
  socklen_t len = sizeof is_listening;
  ::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len);
  if (is_listening == 0) {
    return invalid_argument(concat("descriptor ", number, " is a socket that does not listen"));
  }
  ::fcntl(number, F_SETFD, FD_CLOEXEC);
  ::fcntl(number, F_SETFL, ::fcntl(number, F_GETFL) | O_NONBLOCK);
  return socket;
}

}  // namespace deepwell
