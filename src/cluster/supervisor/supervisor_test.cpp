// The supervisor with real processes: deaths, silence, memory, descriptors, signals.
#include "cluster/supervisor/supervisor.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cluster/supervisor/testing/served.hpp"

namespace deepwell::cluster::testing {
namespace {

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

TEST(Supervisor, PassesArgumentsAndKnowsItsOwn) {
  SupervisorOptions options;
  options.arguments = {"--model", "m"};
  options.run_directory = "/run/x";
  const ChildSpec front{ChildKind::kFront, 0, 7, 1}, worker{ChildKind::kWorker, 2, 9, 1};
  EXPECT_EQ(child_arguments(options, front),
            (std::vector<std::string>{"front", "--model", "m", "--front-epoch", "7", "--listen-fd",
                                      "3", "--control-fd", "4"}));
  EXPECT_EQ(
      child_arguments(options, worker),
      (std::vector<std::string>{"worker", "--model", "m", "--worker-index", "2", "--worker-epoch",
                                "9", "--socket", "/run/x/worker-2-9.sock", "--control-fd", "3",
                                "--crash-fd", "4", "--kv-fd", "5", "--image-fd", "6"}));
}

TEST(Supervisor, RefusesARunDirectoryThatCannotBeUsed) {
  SupervisorOptions options;
  options.run_directory = "/tmp/" + std::string(100, 'x');
  EXPECT_EQ(supervise(std::move(options), null_log()).error().code, Code::kInvalidArgument);
  options = {};
  options.run_directory = "/dev/null";
  EXPECT_FALSE(supervise(std::move(options), null_log()));
}

TEST(Supervisor, GivesChildrenExactlyTheirDescriptors) {
  Served served;
  ASSERT_TRUE(make_directories(served.run_directory, 0755));
  served.start_ready();
  EXPECT_TRUE(served.has_logged("worker", "1", "fds 0 1 2 3 4 5 6"))
      << served.log_of("worker", "1");
  EXPECT_TRUE(served.has_logged("front", "2", "fds 0 1 2 3 4")) << served.log_of("front", "2");
  EXPECT_TRUE(served.has_logged("front", "2", "group own"));
  struct stat info {};
  ASSERT_EQ(::stat(served.run_directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
}

TEST(Supervisor, StartsTheSuccessorOfAKilledChildAtOnce) {
  Served served;
  served.start_ready({"workers=2"});
  double longest_ms = 0;
  const std::pair<std::string, std::string> children[] = {
      {"worker", "0"}, {"worker", "1"}, {"front", "0"}};
  for (const auto& child : children) {
    const std::string &kind = child.first, &index = child.second;
    const int pid = served.pid_of(kind, index);
    const std::string other = index == "1" ? "0" : "1";
    const int bystander = served.pid_of("worker", other);
    const auto start = Clock::now();
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ASSERT_TRUE(wait_until([&] {
      const int now = served.pid_of(kind, index);
      return now != 0 && now != pid;
    }));
    longest_ms = std::max(longest_ms, milliseconds_since(start));
    ASSERT_TRUE(wait_until([&] { return served.has_successor(kind, pid, index); }));
    EXPECT_EQ(served.pid_of("worker", other), bystander);
  }
  std::printf("longest time from kill -9 to the successor's start: %.1f ms\n", longest_ms);
  EXPECT_LT(longest_ms, 1000);
  EXPECT_EQ(served.incidents().size(), 3U);
}

TEST(Supervisor, HandsSuspectsAndMemoryOnAndWritesAnIncident) {
  Served served;
  served.set_behaviour("worker", "suspects segv-after=200");
  served.start();
  ASSERT_TRUE(wait_until([&] { return !served.incidents().empty(); }));
  served.set_behaviour("worker", "");
  EXPECT_TRUE(wait_until([&] {
    return served.has_logged("front", "2", "worker-died epoch=1 signal=11 tags=5,9");
  })) << served.log_of("front", "2");
  ASSERT_TRUE(
      wait_until([&] { return served.has_logged("worker", "3", "found-image of-epoch-1"); }));
  EXPECT_TRUE(served.has_logged("worker", "1", "found-kv nothing"));
  EXPECT_TRUE(served.has_logged("worker", "3", "found-kv of-epoch-1"));
  EXPECT_TRUE(served.has_logged("worker", "3", "found-tags 0"));
  EXPECT_TRUE(wait_until([&] {
    return served.log_of("front", "2")
               .find("worker-ready epoch=3 text=" + served.run_directory + "/worker-0-3.sock") !=
           std::string::npos;
  }));

  const std::string incident = served.incidents()[0];
  for (const char* part : {"child: worker-0", "epoch: 1", "ended: signal 11 (SIGSEGV)",
                           "suspects: 5 9", "--api-key ***", "  worker 1 says hello\n"}) {
    EXPECT_NE(incident.find(part), std::string::npos) << part << " is not in:\n" << incident;
  }
  EXPECT_EQ(incident.find("hunter2"), std::string::npos);
  EXPECT_NE(served.stderr_text().find("worker 1 says hello\n"), std::string::npos);
}

TEST(Supervisor, ReplacesAStoppedFront) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  const auto start = Clock::now();
  ASSERT_EQ(::kill(front, SIGSTOP), 0);
  ASSERT_TRUE(wait_until([&] { return served.has_successor("front", front); }));
  std::printf("a stopped front was replaced after %.0f ms\n", milliseconds_since(start));
  EXPECT_EQ(served.pid_of("worker"), worker);
  EXPECT_NE(served.incidents().at(0).find("no sign of life"), std::string::npos);
  EXPECT_EQ(Served::greeting(served.connect()), "front 3");
}

TEST(Supervisor, ReplacesAFrontThatRunsButFallsSilent) {
  Served served;
  served.set_behaviour("front", "silent-after=300");
  served.start_ready();
  const int front = served.pid_of("front");
  served.set_behaviour("front", "");
  EXPECT_TRUE(wait_until([&] { return served.has_successor("front", front); }));
}

TEST(Supervisor, KillsNobodyBecauseItWasStoppedItself) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  for (int i = 0; i < 3; ++i) {
    served.send_signal(SIGSTOP);
    std::this_thread::sleep_for(milliseconds(900));
    served.send_signal(SIGCONT);
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(served.pid_of("front"), front);
  EXPECT_EQ(served.pid_of("worker"), worker);
  EXPECT_TRUE(served.incidents().empty());
}

TEST(Supervisor, KillsAStoppedWorkerWhenAFrontAsks) {
  Served served;
  served.start_ready();
  const int worker = served.pid_of("worker"), front = served.pid_of("front");
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  served.set_behaviour("front", "kill");  // asks with a stale epoch first
  ASSERT_EQ(::kill(front, SIGKILL), 0);
  ASSERT_TRUE(wait_until([&] { return served.has_successor("worker", worker); }));
  const std::vector<std::string> incidents = served.incidents();
  ASSERT_EQ(incidents.size(), 2U);
  EXPECT_NE(incidents[1].find("reason: killed at the request of front 0 (epoch 3): no progress"),
            std::string::npos)
      << incidents[1];
}

TEST(Supervisor, KeepsAcceptingIntoTheBacklogWhileTheFrontIsAway) {
  Served served;
  served.start_ready();
  EXPECT_EQ(Served::greeting(served.connect()), "front 2");
  served.set_behaviour("front", "sleep=700");
  ASSERT_EQ(::kill(served.pid_of("front"), SIGKILL), 0);
  std::vector<ScopedFd> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(served.connect());
    ASSERT_TRUE(clients.back().is_open()) << "connection " << i << " was refused";
    std::this_thread::sleep_for(milliseconds(10));
  }
  for (const ScopedFd& client : clients) EXPECT_EQ(Served::greeting(client), "front 3");
}

TEST(Supervisor, BacksOffInACrashLoopAndSaysWhatToDo) {
  Served served;
  served.set_behaviour("worker", "exit=1");
  served.start();
  std::this_thread::sleep_for(milliseconds(1500));
  const std::size_t n_deaths = served.incidents().size();  // 4 at once, then after 0.2, 0.5 and 1 s
  EXPECT_GE(n_deaths, 4U);
  EXPECT_LE(n_deaths, 7U);
  EXPECT_NE(served.stderr_text().find("the next start is in"), std::string::npos);
  served.set_behaviour("worker", "");
  EXPECT_TRUE(wait_until([&] { return served.is_ready(); }));  // and it goes on trying
}

TEST(Supervisor, UsesEachEpochOnce) {
  Served served;
  served.set_behaviour("worker", "segv-after=30");
  served.set_behaviour("front", "segv-after=45");
  served.start({"workers=2"});
  EXPECT_TRUE(wait_until([&] { return served.incidents().size() >= 12; }));
  int n_lives = 0;
  const std::vector<std::string> names = list_directory(served.directory).value();
  for (const std::string& name : names) {
    if (!name.ends_with(".log")) continue;
    const std::string text = read_file(join_path(served.directory, name), 1 << 20).value();
    EXPECT_EQ(text.rfind("args "), 0U) << name << " was written by two processes";
    ++n_lives;
  }
  EXPECT_GE(n_lives, 12);
}

TEST(Supervisor, EndsWithTheErrorOfAFirstStart) {
  Served served;
  served.set_behaviour("worker", "exit=3");
  served.start();
  EXPECT_EQ(served.wait_end().exit_code, 20 + static_cast<int>(Code::kNotFound));
  EXPECT_NE(served.stderr_text().find("worker 0 cannot start (exit code 3)"), std::string::npos);
}

TEST(Supervisor, DrainsAndLeavesNothingBehind) {
  Served served;
  served.set_behaviour("front", "drain-ms=600");
  served.start_ready({"drain=7"});
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  served.send_signal(SIGTERM);
  ASSERT_TRUE(wait_until([&] { return served.has_logged("front", "2", "drain text=7"); }));
  EXPECT_TRUE(wait_until([&] { return !served.connect().is_open(); }));  // nobody would answer
  EXPECT_FALSE(is_dead(front));
  EXPECT_FALSE(is_dead(worker));  // the front still needs it
  EXPECT_EQ(served.wait_end().exit_code, 0) << served.stderr_text();
  EXPECT_TRUE(is_dead(front));
  EXPECT_TRUE(is_dead(worker));
  EXPECT_FALSE(served.connect().is_open());
  EXPECT_FALSE(is_file(join_path(served.run_directory, "control.sock")));
  EXPECT_TRUE(served.incidents().empty());
}

TEST(Supervisor, LimitsTheDrain) {
  Served served;
  served.set_behaviour("front", "stubborn");
  served.set_behaviour("worker", "stubborn");
  served.start_ready({"drain=0", "margin=0", "grace=200"});
  served.send_signal(SIGTERM);
  EXPECT_EQ(served.wait_end().exit_code, 0) << served.stderr_text();
  EXPECT_EQ(served.incidents().size(), 2U);
}

TEST(Supervisor, KillsAtTheSecondSignal) {
  Served served;
  served.set_behaviour("front", "stubborn");
  served.set_behaviour("worker", "stubborn");
  served.start_ready();
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  served.send_signal(SIGTERM);
  ASSERT_TRUE(wait_until([&] { return served.has_logged("front", "2", "drain text=20"); }));
  EXPECT_FALSE(is_dead(front));
  const auto start = Clock::now();
  served.send_signal(SIGINT);
  EXPECT_EQ(served.wait_end().exit_code, 20 + static_cast<int>(Code::kCancelled));
  EXPECT_LT(milliseconds_since(start), 5000);
  EXPECT_TRUE(is_dead(front));
  EXPECT_TRUE(is_dead(worker));
}

TEST(Supervisor, IsMissedByItsChildrenWhoThenLeave) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front"), worker = served.pid_of("worker");
  served.send_signal(SIGKILL);
  EXPECT_EQ(served.wait_end().signal, SIGKILL);
  EXPECT_TRUE(wait_until([&] { return is_dead(front) && is_dead(worker); }));
}

TEST(Supervisor, RefusesToShareItsRunDirectory) {
  Served served;
  served.start_ready();
  const int front = served.pid_of("front");
  SupervisorOptions options;
  options.run_directory = served.run_directory;
  const Status second = supervise(std::move(options), null_log());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kAborted);
  EXPECT_EQ(served.pid_of("front"), front);  // whose socket is still there
}

TEST(Supervisor, RefusesRequestsThatItDoesNotKnow) {
  Served served;
  served.start_ready();
  const auto answer = ask_supervisor(served.run_directory, "dance", kLimit);
  ASSERT_FALSE(answer);
  EXPECT_NE(answer.error().message.find("unknown request"), std::string::npos);
}

}  // namespace
}  // namespace deepwell::cluster::testing
