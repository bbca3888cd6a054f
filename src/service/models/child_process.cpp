// Child processes over posix_spawn and poll.
#include "service/models/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/concat.hpp"
#include "base/file.hpp"

extern char** environ;  // POSIX; unistd.h declares it only for GNU

namespace deepwell::service {

namespace {

/// A pipe whose ends close with it.
class Pipe {
 public:
  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  bool open() { return ::pipe2(ends_.data(), O_CLOEXEC) == 0; }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_end(std::size_t end) {
    if (ends_[end] >= 0) ::close(ends_[end]);
    ends_[end] = -1;
  }

 private:
  std::array<int, 2> ends_ = {-1, -1};
};

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool is_replaced = false;
    for (const auto& [name, value] : added) is_replaced |= text.starts_with(concat(name, "="));
    if (!is_replaced) result.emplace_back(text);
  }
  for (const auto& [name, value] : added) result.push_back(concat(name, "=", value));
  return result;
}

Result<pid_t> spawn(const ChildProcess& child, const Pipe& output, const Pipe& errors) {
  std::vector<std::string> arguments = child.arguments;
  std::vector<std::string> environment = environment_with(child.environment);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output.write_end(), 1);
  posix_spawn_file_actions_adddup2(&actions, errors.write_end(), 2);
  pid_t pid = -1;
  const int failure = ::posix_spawnp(&pid, arguments[0].c_str(), &actions, nullptr,
                                     pointers(arguments).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return errno_error(failure, "run", arguments[0]);
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Reads both pipes until the child has closed them.
Status read_pipes(const ChildProcess& child, Pipe& output, Pipe& errors, std::string& error_tail) {
  constexpr int kTickMs = 200;
  constexpr std::size_t kTailBytes = 4096;
  std::array<char, 1 << 16> buffer;
  while (output.read_end() >= 0 || errors.read_end() >= 0) {
    if (child.cancel.stop_requested()) return Error{Code::kCancelled, "interrupted"};
    std::array<pollfd, 2> polled = {pollfd{output.read_end(), POLLIN, 0},
                                    pollfd{errors.read_end(), POLLIN, 0}};
    const int n_ready = ::poll(polled.data(), polled.size(), kTickMs);
    if (n_ready < 0 && errno != EINTR) return errno_error(errno, "wait for", child.arguments[0]);
    if (child.on_tick) child.on_tick();
    if (n_ready <= 0) continue;
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      const ssize_t n = ::read(polled[i].fd, buffer.data(), buffer.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) {
        (i == 0 ? output : errors).close_end(0);
        continue;
      }
      const std::string_view chunk(buffer.data(), static_cast<std::size_t>(n));
      if (i == 0) {
        if (child.on_stdout) DW_TRY(child.on_stdout(chunk));
      } else {
        error_tail.append(chunk);
        if (error_tail.size() > kTailBytes) error_tail.erase(0, error_tail.size() - kTailBytes);
      }
    }
  }
  return {};
}

}  // namespace

Result<ChildResult> run_child(const ChildProcess& child) {
  Pipe output;
  Pipe errors;
  if (!output.open() || !errors.open())
    return errno_error(errno, "open a pipe for", child.arguments[0]);
  DW_ASSIGN(const pid_t pid, spawn(child, output, errors));
  output.close_end(1);
  errors.close_end(1);
  ChildResult result;
  Status read = read_pipes(child, output, errors, result.error_tail);
  if (!read) ::kill(pid, SIGTERM);
  result.exit_code = wait_for(pid);
  DW_TRY(std::move(read));
  return result;
}

}  // namespace deepwell::service
