// Opening and taking over listening sockets.
#include "base/listen_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/concat.hpp"

namespace deepwell {
namespace {

TEST(ScopedFd, ClosesWhatItHeldWhenAssigned) {
  ScopedFd one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ScopedFd two(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int old_one = one.get(), old_two = two.get();
  one = std::move(two);
  EXPECT_EQ(one.get(), old_two);
  EXPECT_EQ(::fcntl(old_one, F_GETFD), -1);
  one.reset();
  EXPECT_FALSE(one.is_open());
  EXPECT_EQ(::fcntl(old_two, F_GETFD), -1);
}

TEST(ListenSocket, OpensEveryNumericSpellingAndTellsThePort) {
  const std::pair<const char*, const char*> hosts[] = {
      {"127.0.0.1", "127.0.0.1"}, {"localhost", "127.0.0.1"},
      {"0.0.0.0", "0.0.0.0"},     {"::1", "::1"},
      {"[::1]", "::1"},           {"::", "::"}};
  for (const auto& [host, address] : hosts) {
    const auto socket = open_listen_socket(host, 0);
    if (!socket && socket.error().message.find("no such address") != std::string::npos) continue;
    ASSERT_TRUE(socket) << host << ": " << socket.error().message;
    EXPECT_EQ(socket->address, address);
    EXPECT_NE(socket->port, 0);
    EXPECT_NE(::fcntl(socket->fd.get(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(::fcntl(socket->fd.get(), F_GETFL) & O_NONBLOCK, 0);
  }
}

TEST(ListenSocket, SaysWhatIsWrongWithAnAddress) {
  for (const char* host : {"", "example.org", "127.1", "1.2.3.4.5", "[::1", "fe80::1%no-such"}) {
    const auto socket = open_listen_socket(host, 0);
    ASSERT_FALSE(socket) << host;
    EXPECT_EQ(socket.error().code, Code::kInvalidArgument);
    EXPECT_NE(socket.error().message.find(concat("\"", host, "\": not an IP")), std::string::npos);
  }
  const auto elsewhere = open_listen_socket("192.0.2.1", 0);  // TEST-NET-1, RFC 5737
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().code, Code::kInvalidArgument);
  const auto first = open_listen_socket("127.0.0.1", 0);
  ASSERT_TRUE(first);
  const auto second = open_listen_socket("127.0.0.1", first->port);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
}

TEST(ListenSocket, TakesOverAnOpenOneAndNothingElse) {
  const auto first = open_listen_socket("127.0.0.1", 0);
  ASSERT_TRUE(first);
  const auto taken = adopt_listen_socket(::dup(first->fd.get()));
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->port, first->port);
  EXPECT_NE(::fcntl(taken->fd.get(), F_GETFD) & FD_CLOEXEC, 0);  // dup() had lost it

  const auto file = adopt_listen_socket(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find("not a socket"), std::string::npos);
  const auto unix_socket = adopt_listen_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_FALSE(unix_socket);
  EXPECT_NE(unix_socket.error().message.find("not a TCP socket"), std::string::npos);
  const auto deaf = adopt_listen_socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_FALSE(deaf);
  EXPECT_NE(deaf.error().message.find("does not listen"), std::string::npos);
}

}  // namespace
}  // namespace deepwell
