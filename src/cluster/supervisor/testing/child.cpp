// A supervisor and children for its tests, in one small program. `serve DIR [KEY=VALUE...]` supervises;
// `front` and `worker` do what the words in DIR/front.do and DIR/worker.do say when they start, and
// write what they see into DIR/<kind>-<epoch>.log.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/listen_socket.hpp"
#include "cluster/supervisor/supervisor.hpp"
#include "engine/runtime/crash_page.hpp"

namespace deepwell::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string own_path() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return {path, static_cast<std::size_t>(std::max<ssize_t>(n, 0))};
}

std::map<std::string, std::string> read_words(std::istream& in) {
  std::map<std::string, std::string> words;
  for (std::string word; in >> word;) {
    const std::size_t equals = word.find('=');
    words[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
  }
  return words;
}

class StderrLog final : public Log {
  void write(LogLevel, std::string_view line) override {
    std::fprintf(stderr, "supervisor: %.*s\n", static_cast<int>(line.size()), line.data());
  }
};

int serve(const std::vector<std::string>& arguments) {
  std::stringstream text;
  for (std::size_t i = 1; i < arguments.size(); ++i) text << arguments[i] << ' ';
  auto words = read_words(text);
  const auto number = [&words](const char* key, int fallback) {
    return words.contains(key) ? std::stoi(words[key]) : fallback;
  };
  if (words.contains("terminal")) {
    ::dup2(::open(words["terminal"].c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC), 0);
  }
  SupervisorOptions options;
  options.program = own_path();
  options.arguments = {"--dir", arguments[0], "--api-key", "hunter2"};
  options.run_directory = join_path(arguments[0], "run");
  auto socket = open_listen_socket("127.0.0.1", 0);
  if (!socket) return 1;
  options.listen_fd = std::move(socket->fd);
  options.roster.n_workers = static_cast<std::uint32_t>(number("workers", 1));
  options.roster.drain_timeout = std::chrono::seconds(number("drain", 20));
  options.roster.drain_margin = std::chrono::seconds(number("margin", 5));
  options.roster.stop_grace = milliseconds(number("grace", 5000));
  options.roster.reload_limit = std::chrono::seconds(number("reload", 20));
  if (!write_file_atomic(join_path(arguments[0], "port"), concat(socket->port))) return 1;
  StderrLog log;
  const Status outcome = supervise(std::move(options), log);
  if (!outcome)
    log.error("outcome: ", code_name(outcome.error().code), ": ", outcome.error().message);
  return outcome ? 0 : 20 + static_cast<int>(outcome.error().code);
}

/// One child's life.
class Child {
 public:
  Child(bool is_front, const std::vector<std::string>& arguments) : is_front_(is_front) {
    const auto value = [&arguments](std::string_view name) {
      const auto found = std::find(arguments.begin(), arguments.end(), name);
      return found + 1 < arguments.end() ? *(found + 1) : std::string();
    };
    const std::string dir = value("--dir");
    epoch_ = value(is_front ? "--front-epoch" : "--worker-epoch");
    const std::string kind = is_front ? "front" : "worker";
    std::stringstream text(read_file(join_path(dir, kind + ".do"), 4096).value_or(""));
    words_ = read_words(text);
    log_ = std::fopen(join_path(dir, concat(kind, "-", epoch_, ".log")).c_str(), "ae");
    std::string line = "args";
    for (const std::string& argument : arguments) line += " " + argument;
    note(line);
    std::fprintf(stderr, "%s %s says hello\n", kind.c_str(), epoch_.c_str());
  }

  int live() {
    note_descriptors();
    if (has("exit")) return std::stoi(words_["exit"]);
    if (has("sleep")) std::this_thread::sleep_for(milliseconds(std::stoi(words_["sleep"])));
    if (has("stubborn")) ::signal(SIGTERM, SIG_IGN);
    if (!is_front_) prepare_memory();
    ControlChannel channel(is_front_ ? 4 : 3);
    const auto start = steady_clock::now();
    if (!has("never-ready")) (void)channel.send({.kind = ControlKind::kReady});
    for (;;) {
      const bool is_silent = is_past("silent-after", start);
      if (!is_silent) (void)channel.send({.kind = ControlKind::kTick});
      if (is_past("segv-after", start)) {
        ::signal(SIGSEGV, SIG_DFL);  // sanitizers would turn it into an exit
        ::raise(SIGSEGV);
      }
      if (is_past("deaf-after", start)) {
        std::this_thread::sleep_for(milliseconds(50));
        continue;
      }
      if (is_front_) accept_clients();
      const auto message = channel.receive(milliseconds(20));
      if (!message) return 0;  // the supervisor is gone
      if (message->has_value() && !hear(channel, **message)) return 0;
    }
  }

 private:
  bool has(const char* word) const { return words_.contains(word); }
  bool is_past(const char* word, steady_clock::time_point start) {
    return has(word) && steady_clock::now() - start >= milliseconds(std::stoi(words_[word]));
  }
  void note(const std::string& line) {
    std::fprintf(log_, "%s\n", line.c_str());
    std::fflush(log_);
  }

  // Before anything is opened here but the log.
  void note_descriptors() {
    std::string line = "fds";
    for (int fd = 0; fd < 1024; ++fd) {
      if (fd != ::fileno(log_) && ::fcntl(fd, F_GETFD) != -1) line += concat(" ", fd);
    }
    note(line);
    note(concat("group ", ::getpgrp() == ::getpid() ? "own" : "shared"));
  }

  void prepare_memory() {
    auto* const page = static_cast<engine::CrashPage*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0));
    note(concat("found-tags ", page->n_tags.load()));
    if (has("suspects")) {
      page->tags[0] = 5;
      page->tags[1] = 9;
      page->n_tags = 2;
    }
    for (const auto& [name, fd] : {std::pair("kv", 5), std::pair("image", 6)}) {
      char found[32] = "nothing";
      if (::pread(fd, found, sizeof found - 1, 0) == 0) {
        const std::string text = concat("of-epoch-", epoch_);
        (void)!::pwrite(fd, text.c_str(), text.size() + 1, 0);
      }
      note(concat("found-", name, " ", found));
    }
  }

  // False: time to leave. With "kill", the first worker that it hears of shall die (and one of an
  // epoch that never was).
  bool hear(ControlChannel& channel, const ControlMessage& message) {
    note(format_control(message));
    if (has("kill") && !has_killed_ && message.kind == ControlKind::kWorkerReady) {
      has_killed_ = true;
      ControlMessage kill{.kind = ControlKind::kKillWorker,
                          .worker = message.worker,
                          .epoch = message.epoch + 100,
                          .text = "stale"};
      (void)channel.send(kill);
      kill.epoch = message.epoch;
      kill.text = "no progress";
      (void)channel.send(kill);
    }
    const bool shall_leave =
        message.kind == ControlKind::kDrain || message.kind == ControlKind::kHandOver;
    if (!shall_leave || has("stubborn")) return true;
    if (is_front_) ::close(3);
    if (has("drain-ms")) std::this_thread::sleep_for(milliseconds(std::stoi(words_["drain-ms"])));
    return false;
  }

  void accept_clients() {
    if (has("no-accept")) return;
    const ScopedFd client(::accept4(3, nullptr, nullptr, SOCK_CLOEXEC));
    if (!client.is_open()) return;
    const std::string text = concat("front ", epoch_);
    (void)::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }

  bool is_front_;
  bool has_killed_ = false;
  std::string epoch_;
  std::map<std::string, std::string> words_;
  std::FILE* log_ = nullptr;
};

}  // namespace
}  // namespace deepwell::cluster

int main(int n_arguments, char** values) {
  using namespace deepwell::cluster;
  const std::vector<std::string> arguments(values + 2, values + n_arguments);
  const std::string mode = values[1];
  ::alarm(120);  // whatever a test does, nobody stays for ever
  if (mode == "serve") return serve(arguments);
  return Child(mode == "front", arguments).live();
}
