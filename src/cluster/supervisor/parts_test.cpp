// The parts of the supervisor that need no process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"
#include "cluster/supervisor/admin.hpp"
#include "cluster/supervisor/incident.hpp"
#include "cluster/supervisor/line_tail.hpp"
#include "cluster/supervisor/log_copy.hpp"
#include "cluster/supervisor/memory_limit.hpp"
#include "cluster/supervisor/patient_log.hpp"
#include "cluster/supervisor/restart_policy.hpp"
#include "cluster/supervisor/slot_memory.hpp"

namespace deepwell::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct TemporaryDirectory {
  std::string path = concat("/tmp/dw-", random_hex(6));
  TemporaryDirectory() { EXPECT_TRUE(make_directories(path, 0700)); }
  ~TemporaryDirectory() { EXPECT_TRUE(remove_tree(path)); }
};

TEST(RestartPolicy, StartsAtOnceAndBacksOffInACrashLoop) {
  RestartPolicy policy{RestartLimits{}};
  const SteadyTime now{};
  std::vector<std::int64_t> delays;
  for (int i = 0; i < 13; ++i) delays.push_back(policy.on_death(std::nullopt, now).count());
  EXPECT_EQ(delays, (std::vector<std::int64_t>{0, 0, 0, 200, 500, 1'000, 2'000, 5'000, 10'000,
                                               20'000, 30'000, 30'000, 30'000}));
}

TEST(RestartPolicy, ForgetsWhenAChildHasServed) {
  RestartPolicy policy{RestartLimits{}};
  const SteadyTime now{};
  for (int i = 0; i < 5; ++i) (void)policy.on_death(now, now + milliseconds(4'999));
  EXPECT_EQ(policy.n_quick_deaths(), 5U);
  EXPECT_EQ(policy.on_death(now, now + seconds(5)).count(), 0);
  EXPECT_EQ(policy.n_quick_deaths(), 0U);
}

TEST(RestartPolicy, DoesNotTakeKillsFromOutsideForACrashLoopUnlessTheyGoOn) {
  RestartPolicy policy{RestartLimits{}};
  const SteadyTime ready{};
  const SteadyTime died = ready + seconds(2);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(policy.on_death(ready, died, true).count(), 0);
  EXPECT_EQ(policy.n_quick_deaths(), 0U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(policy.on_death(ready, died, true).count(), 0);
  EXPECT_EQ(policy.on_death(ready, died, true).count(), 200);
  EXPECT_EQ(policy.on_death(ready, ready + seconds(5), true).count(), 0);
  EXPECT_EQ(policy.on_death(ready, died, true).count(), 0);
  EXPECT_EQ(policy.n_quick_deaths(), 0U);
}

TEST(RestartPolicy, CountsAKillFromOutsideOfAChildThatWasNotReady) {
  RestartPolicy policy{RestartLimits{}};
  (void)policy.on_death(std::nullopt, SteadyTime{}, true);
  EXPECT_EQ(policy.n_quick_deaths(), 1U);
}

TEST(LineTail, CutsLinesAnywhereAndKeepsTheLastFifty) {
  LineTail tail;
  EXPECT_EQ(tail.add("one\ntw"), "one\n");
  EXPECT_EQ(tail.add("o"), "");
  EXPECT_EQ(tail.add("\n\nthree"), "two\n\n");
  EXPECT_EQ(tail.finish(), "three\n");
  EXPECT_EQ(tail.finish(), "");
  EXPECT_EQ(tail.lines(), (std::deque<std::string>{"one", "two", "", "three"}));
  for (int i = 0; i < 60; ++i) (void)tail.add(concat(i, "\n"));
  ASSERT_EQ(tail.lines().size(), LineTail::kMaxLines);
  EXPECT_EQ(tail.lines().front(), "10");
  EXPECT_EQ(tail.lines().back(), "59");
}

TEST(LineTail, CutsALineWithoutEnd) {
  LineTail tail;
  std::string copied;
  for (int i = 0; i < 100; ++i) copied += tail.add(std::string(1000, 'x'));
  copied += tail.finish();
  EXPECT_EQ(std::count(copied.begin(), copied.end(), 'x'), 100'000);
  for (const std::string& line : tail.lines()) EXPECT_LE(line.size(), LineTail::kMaxLineBytes);
}

TEST(LogCopy, NeverWaitsForAReaderAndSaysWhatItLeftOut) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const ScopedFd reader(fds[0]), writer(fds[1]);
  LogCopy copy(writer.get());
  const std::string line = std::string(999, 'x') + "\n";
  for (int i = 0; i < 100; ++i) copy.write(line);  // more than a pipe holds
  std::string text(100'000, '\0');
  text.resize(static_cast<std::size_t>(::read(reader.get(), text.data(), text.size())));
  EXPECT_LT(text.size(), 100'000U);
  copy.write("after\n");
  std::string rest(1000, '\0');
  rest.resize(static_cast<std::size_t>(::read(reader.get(), rest.data(), rest.size())));
  EXPECT_EQ(rest, concat("(", 100'000 - text.size(),
                         " bytes of log were left out: nobody read them)\nafter\n"));
}

/// Writes to a descriptor, as the program's log does.
class DescriptorLog final : public Log {
 public:
  explicit DescriptorLog(int fd) : fd_(fd) {}
  void write(LogLevel, std::string_view line) override {
    const std::string text = concat(line, "\n");
    ASSERT_EQ(::write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

 private:
  int fd_;
};

TEST(PatientLog, NeverWaitsForAReaderAndSaysWhatItLeftOut) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  const ScopedFd reader(fds[0]), writer(fds[1]);
  DescriptorLog inner(writer.get());
  PatientLog log(inner, writer.get());
  const std::size_t n_lines = 100;
  for (std::size_t i = 0; i < n_lines; ++i) log.info(std::string(999, 'x'));
  std::string text(n_lines * 1000, '\0');
  text.resize(static_cast<std::size_t>(::read(reader.get(), text.data(), text.size())));
  const std::size_t n_kept = text.size() / 1000;
  EXPECT_LT(n_kept, n_lines);
  log.info(std::string(100'000, 'y'));  // longer than the pipe
  text.resize(200'000);
  text.resize(static_cast<std::size_t>(::read(reader.get(), text.data(), text.size())));
  EXPECT_TRUE(text.starts_with(
      concat("(", n_lines - n_kept, " lines of log were left out: nobody read them)\ny")));
  log.info("after");
  text.resize(1000);
  text.resize(static_cast<std::size_t>(::read(reader.get(), text.data(), text.size())));
  EXPECT_EQ(text, "after\n");
}

TEST(Incident, MasksSecretsInBothSpellings) {
  const std::vector<std::string> masked =
      mask_secrets({"--api-key", "hunter2", "--port", "80", "--api-key=hunter2", "--hf-token=x",
                    "--api-key-file", "/keys", "--api-key", "--api-key", "last"});
  EXPECT_EQ(masked, (std::vector<std::string>{"--api-key", "***", "--port", "80", "--api-key=***",
                                              "--hf-token=***", "--api-key-file", "/keys",
                                              "--api-key", "***", "last"}));
}

TEST(Incident, IsWrittenAsLinesAndTheOldestGo) {
  const TemporaryDirectory directory;
  Incident incident{.child = "worker-0",
                    .epoch = 7,
                    .status = {.exit_code = 0, .signal = 11},
                    .reason = "",
                    .uptime = milliseconds(1234),
                    .suspects = {5, 9},
                    .arguments = {"worker", "--api-key", "***"},
                    .log_tail = {"loading", "out of memory"}};
  const std::string text = format_incident(incident, 1'740'830'400'123);
  EXPECT_NE(text.find("time: 2025-03-01T12:00:00Z\n"), std::string::npos) << text;
  EXPECT_NE(text.find("child: worker-0\nepoch: 7\nended: signal 11 (SIGSEGV)\n"
                      "reason: died by itself\nuptime_ms: 1234\nsuspects: 5 9\n"
                      "arguments: worker --api-key ***\nlog:\n  loading\n  out of memory\n"),
            std::string::npos)
      << text;
  incident.status.signal = SIGKILL;
  EXPECT_NE(format_incident(incident, 0).find("reason: killed from outside"), std::string::npos);
  incident.reason = "gave no sign of life";
  EXPECT_NE(format_incident(incident, 0).find("reason: gave no sign of life\n"), std::string::npos);
  for (std::uint64_t i = 0; i < 105; ++i) {
    incident.epoch = i;
    ASSERT_TRUE(
        write_incident(directory.path, incident, 1'740'830'400'000 + static_cast<std::int64_t>(i)));
  }
  const std::vector<std::string> names = list_directory(directory.path).value();
  ASSERT_EQ(names.size(), kMaxIncidents);
  EXPECT_EQ(names.front(), "2025-03-01T12-00-00.005Z-worker-0-5.txt");
}

TEST(SlotMemory, HandsOverSuspectsOnceAndCannotBeShrunk) {
  SlotMemory memory = SlotMemory::create(0).value();
  auto* const page = static_cast<engine::CrashPage*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory.crash_fd(), 0));
  EXPECT_TRUE(memory.take_suspects().empty());
  page->tags[0] = 42;
  page->n_tags = 1;
  EXPECT_EQ(memory.take_suspects(), std::vector<std::uint64_t>{42});
  EXPECT_TRUE(memory.take_suspects().empty());
  page->n_tags = 4'000'000'000U;  // a worker that wrote anywhere before it died
  EXPECT_EQ(memory.take_suspects().size(), engine::CrashPage::kMaxTags);
  EXPECT_EQ(::ftruncate(memory.crash_fd(), 0), -1);
  EXPECT_EQ(::ftruncate(memory.kv_fd(), 1 << 20), 0);
  ::munmap(page, 4096);
}

TEST(MemoryLimit, WritesTheFilesOfCgroupV2) {
  const TemporaryDirectory group;  // stands for a delegated group
  EXPECT_FALSE(MemoryLimit::open(group.path, 1000));
  ASSERT_TRUE(write_file_atomic(join_path(group.path, "cgroup.controllers"), "cpu memory2 pids\n"));
  EXPECT_FALSE(MemoryLimit::open(group.path, 1000));
  ASSERT_TRUE(write_file_atomic(join_path(group.path, "cgroup.controllers"), "cpu memory\n"));
  auto limit = MemoryLimit::open(group.path, 123'456);
  ASSERT_TRUE(limit) << limit.error().message;
  ASSERT_TRUE(limit->add("worker-1-0", 77));
  const auto value = [&group](const char* file) {
    return read_file(join_path(group.path, file), 100).value_or("nothing");
  };
  EXPECT_EQ(value("cgroup.subtree_control"), "+memory");
  EXPECT_EQ(value("supervisor/cgroup.procs"), concat(::getpid()));
  EXPECT_EQ(value("worker-1-0/memory.max"), "123456");
  EXPECT_EQ(value("worker-1-0/cgroup.procs"), "77");
}

class Askable {
 public:
  explicit Askable(const std::string& directory)
      : socket_(AdminSocket::open(join_path(directory, "control.sock")).value()),
        thread_([this] { run(); }) {}
  ~Askable() {
    is_over_ = true;
    thread_.join();
  }

 private:
  void run() {
    int n_reports = 0;
    while (!is_over_) {
      socket_.serve(
          [](std::string_view request) -> std::vector<std::string> {
            if (request == "wait") return {};
            if (request == "fail") return {"one", "error: no"};
            return {concat("you said ", request), "bye"};
          },
          std::chrono::steady_clock::now());
      if (++n_reports % 10 == 0) socket_.report("still waiting", false);
      if (n_reports % 40 == 0) socket_.report("ok", true);
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  std::atomic<bool> is_over_{false};
  AdminSocket socket_;
  std::thread thread_;
};

TEST(AdminSocket, AnswersAndEnds) {
  const TemporaryDirectory directory;
  const Askable askable(directory.path);
  EXPECT_EQ(ask_supervisor(directory.path, "hello", seconds(10)).value(),
            (std::vector<std::string>{"you said hello", "bye"}));
  const auto failed = ask_supervisor(directory.path, "fail", seconds(10));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(failed.error().message, "no");
  const auto long_one = ask_supervisor(directory.path, std::string(300, 'x'), seconds(10));
  ASSERT_FALSE(long_one);
  EXPECT_EQ(long_one.error().message, "the request is too long");
}

TEST(AdminSocket, KeepsWhoeverWaitsForAReport) {
  const TemporaryDirectory directory;
  const Askable askable(directory.path);
  std::vector<std::string> seen;
  const auto lines = ask_supervisor(directory.path, "wait", seconds(10),
                                    [&seen](std::string_view line) { seen.emplace_back(line); });
  ASSERT_TRUE(lines) << lines.error().message;
  EXPECT_EQ(lines->back(), "ok");
  EXPECT_EQ(seen, *lines);
}

TEST(AdminSocket, ReportsOnlyToThoseWhoAsked) {
  const TemporaryDirectory directory;
  const std::string path = join_path(directory.path, "control.sock");
  AdminSocket socket = AdminSocket::open(path).value();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ScopedFd clients[2];
  for (ScopedFd& client : clients) {
    client = ScopedFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_EQ(::send(clients[0].get(), "wait", 4, 0), 4);
  const auto keep = [](std::string_view) { return std::vector<std::string>(); };
  const SteadyTime now = std::chrono::steady_clock::now();
  socket.serve(keep, now);
  socket.report("news", false);
  char text[16];
  EXPECT_EQ(::recv(clients[0].get(), text, sizeof text, MSG_DONTWAIT), 4);
  EXPECT_EQ(::recv(clients[1].get(), text, sizeof text, MSG_DONTWAIT), -1);
  socket.serve(keep, now + AdminSocket::kRequestLimit);  // who does not ask is sent away
  EXPECT_EQ(::recv(clients[1].get(), text, sizeof text, MSG_DONTWAIT), 0);
  EXPECT_EQ(::recv(clients[0].get(), text, sizeof text, MSG_DONTWAIT), -1);
}

TEST(AdminSocket, SaysWhenNobodyIsThere) {
  const TemporaryDirectory directory;
  const auto nobody = ask_supervisor(directory.path, "status", seconds(1));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Code::kUnavailable);
  auto socket = AdminSocket::open(join_path(directory.path, "control.sock")).value();
  const auto silent = ask_supervisor(directory.path, "status", milliseconds(20));
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().code, Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace deepwell::cluster
