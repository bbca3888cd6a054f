// Bytes that wait in a socket, and bytes that were read.
#include "cluster/front/unread_bytes.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "base/concat.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::cluster {
namespace {

/// Connects a pair of sockets through a listener at `address`; the first end is the one that connected.
struct Connected {
  ScopedFd mine, other;

  template <class Address>
  static Connected through(Address address, int family) {
    const ScopedFd listener(::socket(family, SOCK_STREAM, 0));
    ::socklen_t length = sizeof address;
    EXPECT_EQ(0, ::bind(listener.get(), reinterpret_cast<::sockaddr*>(&address), length));
    EXPECT_EQ(0, ::listen(listener.get(), 1));
    EXPECT_EQ(0, ::getsockname(listener.get(), reinterpret_cast<::sockaddr*>(&address), &length));
    Connected pair{.mine = ScopedFd(::socket(family, SOCK_STREAM, 0)), .other = {}};
    EXPECT_EQ(0, ::connect(pair.mine.get(), reinterpret_cast<::sockaddr*>(&address), length));
    pair.other = ScopedFd(::accept(listener.get(), nullptr, nullptr));
    return pair;
  }
  void expect_seen_at(const std::string& address) const {
    char byte = 'x';
    EXPECT_FALSE(has_unread_bytes(address));
    ASSERT_EQ(1, ::write(other.get(), &byte, 1));
    EXPECT_TRUE(has_unread_bytes(address));
    EXPECT_FALSE(has_unread_bytes(address + "9"));
    ASSERT_EQ(1, ::read(mine.get(), &byte, 1));
    EXPECT_FALSE(has_unread_bytes(address));
  }
};

TEST(UnreadBytes, AreSeenInALocalSocketUntilTheyAreRead) {
  const std::string path = concat(::testing::TempDir(), "unread-", ::getpid(), ".sock");
  ::sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  Connected::through(address, AF_UNIX).expect_seen_at(concat("unix:", path));
  ::unlink(path.c_str());
}

TEST(UnreadBytes, AreSeenInAConnectionToAnotherMachineUntilTheyAreRead) {
  ::sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {}, .sin_zero = {}};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Connected pair = Connected::through(address, AF_INET);
  ::socklen_t length = sizeof address;
  ASSERT_EQ(0, ::getpeername(pair.mine.get(), reinterpret_cast<::sockaddr*>(&address), &length));
  pair.expect_seen_at(concat("localhost:", ntohs(address.sin_port)));
}

}  // namespace
}  // namespace deepwell::cluster
