// Served: a real supervisor process with helper children, for tests.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/child_process.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"
#include "cluster/supervisor/admin.hpp"

namespace deepwell::cluster::testing {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr seconds kLimit{30};  // for what should take milliseconds, on a busy machine

template <class Condition>
bool wait_until(Condition condition, milliseconds limit = kLimit) {
  for (const auto deadline = Clock::now() + limit; Clock::now() < deadline;) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return condition();
}

using Line = std::map<std::string, std::string>;  // "kind" is the first word

inline Line parse_line(const std::string& text) {
  Line line;
  std::size_t at = text.find(' ');
  line["kind"] = text.substr(0, at);
  while (at != std::string::npos) {
    const std::size_t end = text.find(' ', at + 1);
    const std::string word = text.substr(at + 1, end - at - 1);
    line[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    at = end;
  }
  return line;
}

/// The path of the program of testing/child.cpp.
std::string child_program();

class Served {
 public:
  std::string directory = concat("/tmp/dw-", random_hex(6));
  std::string run_directory = join_path(directory, "run");

  /// What the children do when they start from now on; testing/child.cpp knows the words.
  void set_behaviour(const std::string& kind, const std::string& words) {
    ASSERT_TRUE(write_file_atomic(join_path(directory, kind + ".do"), words));
  }

  Served() { EXPECT_TRUE(make_directories(directory, 0700)); }
  ~Served() {
    if (process_.pidfd.is_open()) {
      (void)signal_process(process_, SIGCONT);
      (void)signal_process(process_, SIGKILL);
      (void)reap_process(process_);
    }
    EXPECT_TRUE(remove_tree(directory));
  }

  void start(std::vector<std::string> options = {}) {
    SpawnRequest request;
    request.program = child_program();
    request.arguments = {"serve", directory};
    request.arguments.insert(request.arguments.end(), options.begin(), options.end());
    const ScopedFd errors(::open(join_path(directory, "stderr").c_str(),
                                 O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
    request.stderr_fd = errors.get();
    request.fds = std::vector<int>(8, errors.get());  // strays that no child may inherit
    auto process = spawn_process(request);
    ASSERT_TRUE(process) << process.error().message;
    process_ = std::move(*process);
  }
  /// And waits until every child is ready.
  void start_ready(std::vector<std::string> options = {}) {
    start(std::move(options));
    ASSERT_TRUE(wait_until([this] { return is_ready(); })) << stderr_text();
  }

  std::vector<Line> status() const {
    std::vector<Line> lines;
    const auto answer = ask_supervisor(run_directory, "status", kLimit);
    if (!answer) return lines;
    for (const std::string& line : *answer) lines.push_back(parse_line(line));
    return lines;
  }
  bool is_ready() const {
    const std::vector<Line> lines = status();
    for (std::size_t i = 1; i < lines.size(); ++i) {
      if (lines[i].at("state") != "ready") return false;
    }
    return lines.size() > 1;
  }
  /// The first line of this kind and index; empty if there is none.
  Line child(const std::string& kind, const std::string& index = "0") const {
    for (const Line& line : status()) {
      if (line.at("kind") == kind && line.contains("index") && line.at("index") == index)
        return line;
    }
    return {};
  }
  int pid_of(const std::string& kind, const std::string& index = "0") const {
    const Line line = child(kind, index);
    return line.contains("pid") ? std::stoi(line.at("pid")) : 0;
  }
  /// Whether a ready child of this kind and index lives that is not this process.
  bool has_successor(const std::string& kind, int pid, const std::string& index = "0") const {
    const Line line = child(kind, index);
    return line.contains("pid") && line.at("state") == "ready" && std::stoi(line.at("pid")) != pid;
  }

  std::string log_of(const std::string& kind, const std::string& epoch) const {
    return read_file(join_path(directory, concat(kind, "-", epoch, ".log")), 1 << 20).value_or("");
  }
  bool has_logged(const std::string& kind, const std::string& epoch,
                  const std::string& line) const {
    return concat("\n", log_of(kind, epoch)).find(concat("\n", line, "\n")) != std::string::npos;
  }
  std::string stderr_text() const {
    return read_file(join_path(directory, "stderr"), 1 << 20).value_or("");
  }
  /// The texts of all incidents, oldest first.
  std::vector<std::string> incidents() const {
    std::vector<std::string> texts;
    const std::string where = join_path(run_directory, "incidents");
    for (const std::string& name : list_directory(where).value_or({})) {
      texts.push_back(read_file(join_path(where, name), 1 << 20).value_or(""));
    }
    return texts;
  }

  void send_signal(int number) { ASSERT_TRUE(signal_process(process_, number)); }
  /// Waits for the supervisor's end; exit code -1 if it does not come.
  ExitStatus wait_end(milliseconds limit = kLimit) {
    pollfd ended{process_.pidfd.get(), POLLIN, 0};
    if (::poll(&ended, 1, static_cast<int>(limit.count())) != 1) return {.exit_code = -1};
    const ExitStatus status = reap_process(process_);
    process_ = {};
    return status;
  }

  std::uint16_t port() const {
    return static_cast<std::uint16_t>(
        std::stoi(read_file(join_path(directory, "port"), 16).value_or("0")));
  }
  /// A connection to the port that all fronts share, or a closed one if it is refused.
  ScopedFd connect() const {
    ScopedFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
  }
  /// What the front says: "front EPOCH"; empty if nothing came.
  static std::string greeting(const ScopedFd& fd) {
    pollfd waited{fd.get(), POLLIN, 0};
    char text[64];
    if (::poll(&waited, 1, 30'000) != 1) return {};
    const ssize_t n = ::recv(fd.get(), text, sizeof text, 0);
    return {text, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
  }

 private:
  ChildProcess process_;
};

/// Whether the process is gone, or waits to be reaped by whoever inherited it.
inline bool is_dead(int pid) {
  const std::string stat = read_file(concat("/proc/", pid, "/stat"), 4096).value_or("");
  const std::size_t name_end = stat.rfind(')');
  return stat.empty() || (name_end != std::string::npos && stat[name_end + 2] == 'Z');
}

}  // namespace deepwell::cluster::testing
