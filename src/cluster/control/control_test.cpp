// The control line and its channel.
#include "cluster/control/control.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/concat.hpp"

namespace deepwell::cluster {
namespace {

using std::chrono::milliseconds;

TEST(ControlLine, ReadsAsWritten) {
  const ControlMessage died{.kind = ControlKind::kWorkerDied,
                            .worker = 0,
                            .epoch = 3,
                            .signal = 11,
                            .progress = 0.25,
                            .tags = {5, 9},
                            .text = "out of luck = gone"};
  EXPECT_EQ(format_control(died),
            "worker-died epoch=3 signal=11 progress=0.25 tags=5,9 text=out of luck = gone");
}

TEST(ControlLine, SurvivesARoundTripInEveryKind) {
  for (int kind = 0; kind <= static_cast<int>(ControlKind::kHandOver); ++kind) {
    const ControlMessage message{.kind = static_cast<ControlKind>(kind),
                                 .worker = 4'000'000'000U,
                                 .epoch = UINT64_MAX,
                                 .signal = 9,
                                 .progress = 1.0 / 3.0,
                                 .tags = {UINT64_MAX, 0, 1},
                                 .text = "/run/deepwell/worker-0-1.sock \xff text=2"};
    const auto again = parse_control(format_control(message));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, message);
  }
  const auto tick = parse_control("tick");
  ASSERT_TRUE(tick);
  EXPECT_EQ(*tick, ControlMessage{});
}

TEST(ControlLine, KeepsATextOnOneLine) {
  EXPECT_EQ(format_control({.kind = ControlKind::kDrain, .text = "a\nb"}), "drain text=a b");
}

TEST(ControlLine, RefusesWhatItDoesNotUnderstandAndNamesIt) {
  const std::pair<std::string_view, std::string_view> wrong[] = {
      {"", "unknown kind \"\""},
      {"jump", "unknown kind \"jump\""},
      {"tick ", "unknown field \"\""},
      {"tick worker", "unknown field \"worker\""},
      {"tick colour=1", "unknown field \"colour\""},
      {"tick worker=-1", "worker=-1"},
      {"tick worker=1x", "worker=1x"},
      {"tick worker=4294967296", "worker=4294967296"},
      {"tick worker=1 worker=1", "worker is given twice"},
      {"tick signal=-9", "signal=-9"},
      {"tick progress=1.5", "progress=1.5"},
      {"tick progress=nan", "progress=nan"},
      {"tick tags=", "tags="},
      {"tick tags=1,,2", "tags="},
      {"tick text=a\nb", "line feed"},
  };
  for (const auto& [line, named] : wrong) {
    const auto message = parse_control(line);
    ASSERT_FALSE(message) << line;
    EXPECT_EQ(message.error().code, Code::kInvalidArgument);
    EXPECT_NE(message.error().message.find(named), std::string::npos) << message.error().message;
  }
}

TEST(ControlChannel, DeliversMessagesInOrderBothWays) {
  auto [one, other] = ControlChannel::make_pair().value();
  for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
    ASSERT_TRUE(one.send({.kind = ControlKind::kTick, .epoch = epoch}));
    ASSERT_TRUE(other.send({.kind = ControlKind::kReady, .epoch = epoch}));
  }
  for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
    EXPECT_EQ(other.receive(milliseconds(0)).value()->epoch, epoch);
    EXPECT_EQ(one.receive(milliseconds(0)).value()->kind, ControlKind::kReady);
  }
  EXPECT_FALSE(one.receive(milliseconds(1)).value().has_value());
}

TEST(ControlChannel, CarriesAFullCrashPageOfTags) {
  auto [one, other] = ControlChannel::make_pair().value();
  const ControlMessage died{.kind = ControlKind::kWorkerDied,
                            .tags = std::vector<std::uint64_t>(510, UINT64_MAX)};
  ASSERT_TRUE(one.send(died));
  EXPECT_EQ(other.receive(milliseconds(0)).value(), died);
  EXPECT_EQ(one.send({.text = std::string(40'000, 'x')}).error().code, Code::kInvalidArgument);
}

TEST(ControlChannel, WaitsForAMessageAndNoLongerThanAsked) {
  auto [one, other] = ControlChannel::make_pair().value();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(other.receive(milliseconds(30)).value().has_value());
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(30));
  std::thread sender([&channel = one] {
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_TRUE(channel.send({.kind = ControlKind::kReady}));
  });
  EXPECT_TRUE(other.receive(milliseconds(10'000)).value().has_value());
  sender.join();
}

TEST(ControlChannel, ReportsAFullBufferInsteadOfWaiting) {
  auto [one, other] = ControlChannel::make_pair().value();
  Status sent;
  for (int i = 0; i < 100'000 && sent; ++i) sent = one.send({});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Code::kResourceExhausted);
  ASSERT_TRUE(other.receive(milliseconds(0)).value().has_value());
}

TEST(ControlChannel, ReportsADeadPeerAsAValueAfterItsLastWords) {
  auto [one, other] = ControlChannel::make_pair().value();
  ASSERT_TRUE(one.send({}));  // left unread: the kernel then reports a reset first
  ASSERT_TRUE(other.send({.kind = ControlKind::kDrained}));
  { const ControlChannel dead = std::move(other); }
  EXPECT_EQ(one.receive(milliseconds(1000)).value()->kind, ControlKind::kDrained);
  EXPECT_EQ(one.receive(milliseconds(1000)).error().code, Code::kUnavailable);
  EXPECT_EQ(one.send({}).error().code, Code::kUnavailable);  // and no SIGPIPE

  auto [writer, reader] = ControlChannel::make_pair().value();
  ASSERT_TRUE(writer.send({}));
  { const ControlChannel dead = std::move(reader); }
  EXPECT_EQ(writer.send({}).error().code, Code::kUnavailable);  // here it is a reset
}

TEST(ControlChannel, GoesOnAfterALineThatIsNotUnderstood) {
  auto [one, other] = ControlChannel::make_pair().value();
  ASSERT_EQ(::send(one.fd(), "jump", 4, 0), 4);
  const std::string too_long(100'000, 'x');
  ASSERT_EQ(::send(one.fd(), too_long.data(), too_long.size(), 0), 100'000);
  ASSERT_TRUE(one.send({.kind = ControlKind::kReady}));
  EXPECT_EQ(other.receive(milliseconds(0)).error().code, Code::kInvalidArgument);
  EXPECT_EQ(other.receive(milliseconds(0)).error().code, Code::kInvalidArgument);
  EXPECT_EQ(other.receive(milliseconds(0)).value()->kind, ControlKind::kReady);
}

TEST(ControlChannel, ClosesItselfOnExec) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
  const ControlChannel one(fds[0]), other(fds[1]);
  EXPECT_NE(::fcntl(one.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(other.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

}  // namespace
}  // namespace deepwell::cluster
