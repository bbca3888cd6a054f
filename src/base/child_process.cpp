// Child processes by posix_spawn and pidfd.
#include "base/child_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.hpp"

namespace deepwell {

namespace {

constexpr int kFirstFd = 3;

// As system calls: the C library's declarations have C++ linkage until glibc 2.37.
int pidfd_open(int pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int pidfd_send_signal(int pidfd, int number) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0));
}

struct FileActions {
  posix_spawn_file_actions_t actions;
  FileActions() { ::posix_spawn_file_actions_init(&actions); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
};

struct Attributes {
  posix_spawnattr_t attributes;
  Attributes() {
    ::posix_spawnattr_init(&attributes);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
};

// Copies above every target number, so that no dup2() in the child overwrites what a later one needs.
Result<std::vector<ScopedFd>> copies_above_targets(const SpawnRequest& request) {
  const int lowest = kFirstFd + static_cast<int>(request.fds.size());
  std::vector<int> originals = request.fds;
  originals.push_back(request.stderr_fd);
  std::vector<ScopedFd> copies;
  for (const int fd : originals) {
    copies.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
    if (!copies.back().is_open())
      return errno_error(errno, "pass a descriptor to", request.program);
  }
  return copies;
}

}  // namespace

Result<ChildProcess> spawn_process(const SpawnRequest& request) {
  DW_ASSIGN(const std::vector<ScopedFd> copies, copies_above_targets(request));
  FileActions files;
  ::posix_spawn_file_actions_addopen(&files.actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files.actions, copies.back().get(), 2);
  int next = kFirstFd;
  for (std::size_t i = 0; i < request.fds.size(); ++i) {
    ::posix_spawn_file_actions_adddup2(&files.actions, copies[i].get(), next++);
  }
  ::posix_spawn_file_actions_addclosefrom_np(&files.actions, next);

  std::vector<char*> arguments{const_cast<char*>(request.program.c_str())};
  for (const std::string& argument : request.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const Attributes attributes;
  ChildProcess child;
  const int failure = ::posix_spawn(&child.pid, request.program.c_str(), &files.actions,
                                    &attributes.attributes, arguments.data(), environ);
  if (failure != 0) return errno_error(failure, "start", request.program);
  child.pidfd = ScopedFd(pidfd_open(child.pid));  // close-on-exec; the pid is not reaped yet
  if (child.pidfd.is_open()) return child;
  const int reason = errno;
  ::kill(child.pid, SIGKILL);
  ::waitpid(child.pid, nullptr, 0);
  return errno_error(reason, "watch", request.program);
}

bool signal_process(const ChildProcess& child, int signal_number) {
  return pidfd_send_signal(child.pidfd.get(), signal_number) == 0;
}

ExitStatus reap_process(const ChildProcess& child) {
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return {.exit_code = 0, .signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status), .signal = 0};
}

}  // namespace deepwell
