// Rolling changes with real processes.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <set>

#include "cluster/supervisor/testing/served.hpp"

namespace deepwell::cluster::testing {
namespace {

/// Connects again and again and expects every connection to be answered.
class Clients {
 public:
  explicit Clients(const Served& served)
      : thread_([this, &served] {
          while (!is_over_) {
            const ScopedFd client = served.connect();
            const std::string text = client.is_open() ? Served::greeting(client) : "";
            if (text.starts_with("front "))
              fronts_.insert(text);
            else
              ++n_failed_;
            ++n_connections_;
          }
        }) {}
  ~Clients() { stop(); }
  void stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int n_connections() const { return n_connections_; }
  int n_failed() const { return n_failed_; }
  /// After stop().
  const std::set<std::string>& fronts() const { return fronts_; }

 private:
  std::atomic<bool> is_over_{false};
  std::atomic<int> n_connections_{0};
  std::atomic<int> n_failed_{0};
  std::set<std::string> fronts_;
  std::thread thread_;
};

TEST(SupervisorReload, RollsOverWithoutARefusedConnection) {
  Served served;
  served.start_ready({"workers=2"});
  Clients clients(served);
  ASSERT_TRUE(wait_until([&] { return clients.n_connections() > 0; }));
  const int front = served.pid_of("front");
  const int workers[] = {served.pid_of("worker", "0"), served.pid_of("worker", "1")};
  std::vector<std::string> steps;
  const auto answer = ask_supervisor(served.run_directory, "reload", kLimit,
                                     [&](std::string_view line) { steps.emplace_back(line); });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(steps.size(), 5U);
  EXPECT_TRUE(is_dead(front));
  EXPECT_TRUE(is_dead(workers[0]));
  EXPECT_TRUE(is_dead(workers[1]));
  EXPECT_TRUE(served.is_ready());
  EXPECT_EQ(served.status().size(), 4U);  // the supervisor, two workers, one front
  // The old front heard of the new workers, then that it should leave.
  const std::string heard = served.log_of("front", "3");
  EXPECT_LT(heard.find("worker-ready epoch=4"), heard.find("drain text=20"));
  EXPECT_LT(heard.find("worker-draining epoch=1"), heard.find("drain text=20"));
  EXPECT_NE(heard.find("worker-draining worker=1 epoch=2"), std::string::npos);
  // The new memory is not the old one's.
  EXPECT_TRUE(served.has_logged("worker", "4", "found-kv nothing"));
  const int n_before = clients.n_connections();
  EXPECT_TRUE(wait_until([&] { return clients.n_connections() > n_before + 10; }));
  clients.stop();
  EXPECT_EQ(clients.n_failed(), 0);
  EXPECT_EQ(clients.fronts(), (std::set<std::string>{"front 3", "front 6"}));
  EXPECT_TRUE(served.incidents().empty());
}

TEST(SupervisorReload, RollsOverAgainAndAgain) {
  Served served;
  served.start_ready();
  Clients clients(served);
  for (int i = 0; i < 10; ++i) {
    const auto answer = ask_supervisor(served.run_directory, "reload", kLimit);
    ASSERT_TRUE(answer) << answer.error().message;
  }
  clients.stop();
  EXPECT_EQ(clients.n_failed(), 0);
  EXPECT_EQ(served.status().size(), 3U);
  EXPECT_TRUE(served.incidents().empty());
}

TEST(SupervisorReload, IsCalledOffWhenTheNewWorkersCannotStart) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  served.set_behaviour("worker", "exit=2");
  const auto answer = ask_supervisor(served.run_directory, "reload", kLimit);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kFailedPrecondition);
  EXPECT_NE(answer.error().message.find("died with exit code 2"), std::string::npos)
      << answer.error().message;
  EXPECT_EQ(served.pid_of("front"), front);
  EXPECT_EQ(served.pid_of("worker"), worker);
  EXPECT_EQ(Served::greeting(served.connect()), "front 2");
  served.set_behaviour("worker", "");
  EXPECT_TRUE(ask_supervisor(served.run_directory, "reload", kLimit));
}

TEST(SupervisorReload, IsCalledOffWhenTheNewFrontIsNotReadyInTime) {
  Served served;
  served.start_ready({"reload=1"});
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  served.set_behaviour("front", "never-ready no-accept");
  const auto answer = ask_supervisor(served.run_directory, "reload", kLimit);
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message.find("not ready within 1 s"), std::string::npos);
  EXPECT_TRUE(wait_until([&] { return served.status().size() == 3; }));
  EXPECT_EQ(served.pid_of("front"), front);
  EXPECT_EQ(served.pid_of("worker"), worker);
}

TEST(SupervisorReload, ComesBySighupToo) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front");
  served.send_signal(SIGHUP);
  EXPECT_TRUE(wait_until([&] { return is_dead(front) && served.is_ready(); }));
}

TEST(SupervisorReload, IsNotMeantWhenTheTerminalIsClosed) {
  ScopedFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(terminal.is_open());
  ASSERT_EQ(::grantpt(terminal.get()), 0);
  ASSERT_EQ(::unlockpt(terminal.get()), 0);
  Served served;
  served.start_ready({concat("terminal=", ::ptsname(terminal.get()))});
  const int front = served.pid_of("front");
  served.send_signal(SIGHUP);
  EXPECT_TRUE(wait_until([&] { return is_dead(front) && served.is_ready(); }));
  terminal.reset();
  served.send_signal(SIGHUP);
  EXPECT_EQ(served.wait_end().exit_code, 0);
}

}  // namespace
}  // namespace deepwell::cluster::testing
