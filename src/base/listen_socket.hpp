// Listening TCP sockets: opened with messages that help, or taken over from whoever opened them.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell {

/// Close-on-exec and non-blocking.
struct ListenSocket {
  ScopedFd fd;
  std::string address;     // numeric: "127.0.0.1", "::1"
  std::uint16_t port = 0;  // the one that the kernel chose, if 0 was asked for
};

/// Binds and listens, with SO_REUSEADDR. `host`: an IPv4 or IPv6 address (brackets allowed) or
/// "localhost", which is 127.0.0.1. Errors: kInvalidArgument (not an address, or not one of this
/// machine), kAlreadyExists (the port is taken), kPermissionDenied.
Result<ListenSocket> open_listen_socket(const std::string& host, std::uint16_t port);

/// Takes an open one. Error: kInvalidArgument if it is no TCP socket or does not listen; it is closed
/// then too.
Result<ListenSocket> adopt_listen_socket(int fd);

}  // namespace deepwell
