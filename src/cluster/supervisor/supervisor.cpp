// The loop: waits for children, signals, askers and the clock, and lets the roster decide.
#include "cluster/supervisor/supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "cluster/supervisor/admin.hpp"
#include "cluster/supervisor/line_tail.hpp"
#include "cluster/supervisor/log_copy.hpp"
#include "cluster/supervisor/memory_limit.hpp"
#include "cluster/supervisor/patient_log.hpp"
#include "cluster/supervisor/slot_memory.hpp"

namespace deepwell::cluster {

namespace {

constexpr int kMaxMessagesATurn = 256;  // of one child, so that none starves the others
constexpr std::size_t kMaxStderrBytesATurn = 64 * 1024;

/// Signals wait here instead of ending the process; undone by the destructor.
class Signals {
 public:
  Signals() {
    sigset_t blocked;
    ::sigemptyset(&blocked);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&blocked, signal);
    fd_ = ScopedFd(::signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK));
    ::sigaddset(&blocked, SIGPIPE);  // our own stderr may be a pipe whose reader left
    ::sigprocmask(SIG_BLOCK, &blocked, &before_);
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_.get(); }
  /// The next signal that came, or 0.
  int next() {
    signalfd_siginfo info;
    return ::read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo)
                                                                : 0;
  }

 private:
  ScopedFd fd_;
  sigset_t before_{};
};

std::optional<MemoryLimit> open_memory_limit(const SupervisorOptions& options, Log& log) {
  if (options.worker_memory_bytes == 0) return std::nullopt;
  Result<std::string> group = MemoryLimit::own_group();
  if (group) {
    Result<MemoryLimit> limit = MemoryLimit::open(*group, options.worker_memory_bytes);
    if (limit) return std::move(*limit);
    group = limit.error();
  }
  log.warn("the memory limit of workers is not kept: ", group.error().message);
  return std::nullopt;
}

std::string group_name(const ChildSpec& worker) {
  return concat("worker-", worker.set, "-", worker.index);
}

struct Running {
  ChildSpec spec;
  ChildProcess process;
  std::optional<ControlChannel> channel;  // absent once the child has closed it
  ScopedFd stderr_fd;
  LineTail tail;
};

class Supervisor final : public Hands {
 public:
  Supervisor(SupervisorOptions options, Log& log, FileLock lock, AdminSocket admin)
      : options_(std::move(options)),
        log_(log),
        lock_(std::move(lock)),
        admin_(std::move(admin)),
        memory_limit_(open_memory_limit(options_, log)),
        roster_(options_.roster, *this, log) {}

  Status run();

  Result<int> spawn(const ChildSpec& child) override;
  void signal(std::uint64_t epoch, int signal_number) override;
  Status send(std::uint64_t epoch, const ControlMessage& message) override;
  std::string socket_path(const ChildSpec& worker) override {
    return worker_socket_path(options_.run_directory, worker);
  }
  void record(const ChildSpec& child, Incident incident) override;
  void release_set(std::uint32_t set) override;
  void close_listener() override { options_.listen_fd.reset(); }
  void report_reload(std::string_view line, bool is_last) override { admin_.report(line, is_last); }

 private:
  struct SetMemory {
    ScopedFd image;                             // shared by the workers of the set
    std::map<std::uint32_t, SlotMemory> slots;  // by index
  };

  void wait(SteadyTime until);
  void hear_children();
  void hear(std::uint64_t epoch);
  void copy_stderr(Running& child);
  void bury(std::uint64_t epoch);
  void hear_signals();
  bool has_lost_terminal() const;
  std::vector<std::string> answer(std::string_view request);
  Result<std::vector<int>> worker_fds(const ChildSpec& child, int control_fd);

  SupervisorOptions options_;
  Log& log_;
  FileLock lock_;
  AdminSocket admin_;
  std::optional<MemoryLimit> memory_limit_;
  Signals signals_;
  LogCopy log_copy_{2};
  const bool has_terminal_ = ::isatty(0) != 0;
  std::map<std::uint64_t, Running> running_;   // by epoch
  std::map<std::uint32_t, SetMemory> memory_;  // by set
  Roster roster_;
};

Status Supervisor::run() {
  roster_.start(std::chrono::steady_clock::now());
  SteadyTime next_tick = std::chrono::steady_clock::now();
  while (!roster_.is_over()) {
    wait(next_tick);
    hear_children();
    hear_signals();
    admin_.serve([this](std::string_view request) { return answer(request); },
                 std::chrono::steady_clock::now());
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now < next_tick) continue;
    roster_.on_tick(now);
    next_tick = std::max(next_tick + options_.roster.tick, now);
  }
  return roster_.outcome();
}

void Supervisor::wait(SteadyTime until) {
  std::vector<pollfd> waited;
  const auto add = [&waited](int fd) { waited.push_back({fd, POLLIN, 0}); };
  add(signals_.fd());
  for (const int fd : admin_.fds()) add(fd);
  for (const auto& [epoch, child] : running_) {
    add(child.process.pidfd.get());
    if (child.channel) add(child.channel->fd());
    if (child.stderr_fd.is_open()) add(child.stderr_fd.get());
  }
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  ::poll(waited.data(), waited.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
}

void Supervisor::hear_children() {
  std::vector<std::uint64_t> epochs;  // those who are born now are heard in the next turn
  for (const auto& [epoch, child] : running_) epochs.push_back(epoch);
  for (const std::uint64_t epoch : epochs) {
    // Asked before its last words are read, so that none of them is missed.
    pollfd ended{running_.at(epoch).process.pidfd.get(), POLLIN, 0};
    const bool has_ended = ::poll(&ended, 1, 0) == 1;
    hear(epoch);
    if (has_ended) bury(epoch);
  }
}

void Supervisor::hear(std::uint64_t epoch) {
  Running& child = running_.at(epoch);
  copy_stderr(child);
  for (int i = 0; i < kMaxMessagesATurn && child.channel; ++i) {
    const auto message = child.channel->receive(std::chrono::milliseconds(0));
    const SteadyTime now = std::chrono::steady_clock::now();
    if (message && !message->has_value()) return;
    if (message) {
      roster_.on_message(epoch, **message, now);
    } else if (message.error().code == Code::kInvalidArgument) {
      log_.warn(name_of(child.spec), ": ", message.error().message);
    } else {
      child.channel.reset();
      roster_.on_channel_closed(epoch, now);
    }
  }
}

void Supervisor::copy_stderr(Running& child) {
  std::array<char, 16 * 1024> bytes;
  for (std::size_t n_read = 0; child.stderr_fd.is_open() && n_read < kMaxStderrBytesATurn;) {
    const ssize_t n = ::read(child.stderr_fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      child.stderr_fd.reset();
      return;
    }
    n_read += static_cast<std::size_t>(n);
    log_copy_.write(child.tail.add({bytes.data(), static_cast<std::size_t>(n)}));
  }
}

void Supervisor::bury(std::uint64_t epoch) {
  Running& child = running_.at(epoch);
  const ExitStatus status = reap_process(child.process);
  log_copy_.write(child.tail.finish());
  std::vector<std::uint64_t> suspects;
  if (child.spec.kind == ChildKind::kWorker) {
    suspects = memory_.at(child.spec.set).slots.at(child.spec.index).take_suspects();
    (void)remove_file(socket_path(child.spec));
  }
  roster_.on_death(epoch, status, std::move(suspects), std::chrono::steady_clock::now());
  running_.erase(epoch);
}

// SIGHUP also comes when the terminal is closed; then it means the end, as for any program in it.
bool Supervisor::has_lost_terminal() const {
  pollfd terminal{0, 0, 0};
  return has_terminal_ && ::poll(&terminal, 1, 0) == 1 && (terminal.revents & POLLHUP) != 0;
}

void Supervisor::hear_signals() {
  while (const int signal = signals_.next()) {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (signal != SIGHUP || has_lost_terminal()) {
      roster_.drain(now);
    } else if (const Status begun = roster_.reload(now); !begun) {
      log_.warn("SIGHUP: no reload: ", begun.error().message);
    }
  }
}

std::vector<std::string> Supervisor::answer(std::string_view request) {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (request == "status") return roster_.status(now);
  if (request != "reload") return {"error: unknown request; there are `status` and `reload`"};
  const Status begun = roster_.reload(now);
  if (begun) return {};
  return {concat("error: ", begun.error().message)};
}

Result<std::vector<int>> Supervisor::worker_fds(const ChildSpec& child, int control_fd) {
  SetMemory& memory = memory_[child.set];
  if (!memory.image.is_open()) {
    DW_ASSIGN(memory.image, make_memfd("deepwell-image"));
  }
  auto slot = memory.slots.find(child.index);
  if (slot == memory.slots.end()) {
    DW_ASSIGN(SlotMemory made, SlotMemory::create(child.index));
    slot = memory.slots.emplace(child.index, std::move(made)).first;
  }
  return std::vector<int>{control_fd, slot->second.crash_fd(), slot->second.kv_fd(),
                          memory.image.get()};
}

Result<int> Supervisor::spawn(const ChildSpec& child) {
  DW_ASSIGN(auto channels, ControlChannel::make_pair());
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return errno_error(errno, "open", "a pipe for stderr");
  ScopedFd reader(pipe_fds[0]);
  const ScopedFd writer(pipe_fds[1]);
  ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);

  SpawnRequest request;
  request.program = options_.program;
  request.arguments = options_.build_arguments(options_, child);
  request.stderr_fd = writer.get();
  if (child.kind == ChildKind::kFront) {
    request.fds = {options_.listen_fd.get(), channels.second.fd()};
  } else {
    DW_ASSIGN(request.fds, worker_fds(child, channels.second.fd()));
  }
  DW_ASSIGN(ChildProcess process, spawn_process(request));
  const int pid = process.pid;
  if (memory_limit_ && child.kind == ChildKind::kWorker) {
    const Status limited = memory_limit_->add(group_name(child), pid);
    if (!limited) log_.warn("no memory limit for ", name_of(child), ": ", limited.error().message);
  }
  running_.emplace(child.epoch, Running{child, std::move(process), std::move(channels.first),
                                        std::move(reader), LineTail()});
  return pid;
}

void Supervisor::signal(std::uint64_t epoch, int signal_number) {
  const auto found = running_.find(epoch);
  if (found != running_.end()) (void)signal_process(found->second.process, signal_number);
}

Status Supervisor::send(std::uint64_t epoch, const ControlMessage& message) {
  const auto found = running_.find(epoch);
  if (found == running_.end() || !found->second.channel) {
    return unavailable("the child has closed its control channel");
  }
  return found->second.channel->send(message);
}

void Supervisor::record(const ChildSpec& child, Incident incident) {
  const auto found = running_.find(child.epoch);
  if (found != running_.end()) incident.log_tail = found->second.tail.lines();
  incident.arguments = mask_secrets(options_.build_arguments(options_, child));
  const auto written =
      write_incident(join_path(options_.run_directory, "incidents"), incident, wall_clock_ms());
  if (written)
    log_.info("incident: ", *written);
  else
    log_.warn("cannot write the incident: ", written.error().message);
}

void Supervisor::release_set(std::uint32_t set) {
  memory_.erase(set);
  for (std::uint32_t i = 0; memory_limit_ && i < options_.roster.n_workers; ++i) {
    memory_limit_->remove(group_name({ChildKind::kWorker, i, 0, set}));
  }
}

// Told at the start, not by the millionth worker.
Status check_socket_path(const SupervisorOptions& options) {
  const ChildSpec late{ChildKind::kWorker, options.roster.n_workers,
                       options.roster.first_epoch + 1'000'000, 1};
  const std::size_t len = worker_socket_path(options.run_directory, late).size();
  if (len < sizeof(sockaddr_un::sun_path)) return {};
  return invalid_argument(concat("the run directory ", options.run_directory,
                                 " has too long a path for sockets (by ",
                                 len + 1 - sizeof(sockaddr_un::sun_path), " bytes)"));
}

// A directory that others can enter is not a place for sockets that need no password.
Status prepare_run_directory(const std::string& path) {
  if (path.empty()) return invalid_argument("the supervisor needs a run directory");
  DW_TRY(make_directories(directory_of(path)));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_error(errno, "make", path);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return errno_error(errno, "read", path);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid()) {
    return Error{Code::kPermissionDenied,
                 concat("the run directory ", path, " is not a directory of this user")};
  }
  if (::chmod(path.c_str(), 0700) != 0) return errno_error(errno, "set the mode of", path);
  return {};
}

Status remove_old_sockets(const std::string& directory) {
  DW_ASSIGN(const std::vector<std::string> names, list_directory(directory));
  for (const std::string& name : names) {
    const bool is_worker = name.starts_with("worker-") && name.ends_with(".sock");
    if (is_worker || name == "control.sock") DW_TRY(remove_file(join_path(directory, name)));
  }
  return {};
}

}  // namespace

std::string worker_socket_path(const std::string& run_directory, const ChildSpec& worker) {
  return join_path(run_directory, concat("worker-", worker.index, "-", worker.epoch, ".sock"));
}

std::vector<std::string> child_arguments(const SupervisorOptions& options, const ChildSpec& child) {
  const bool is_front = child.kind == ChildKind::kFront;
  std::vector<std::string> arguments{is_front ? "front" : "worker"};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  const auto add = [&arguments](std::string_view name, std::string value) {
    arguments.emplace_back(name);
    arguments.push_back(std::move(value));
  };
  if (is_front) {
    add("--front-epoch", concat(child.epoch));
    add("--listen-fd", "3");
    add("--control-fd", "4");
    return arguments;
  }
  add("--worker-index", concat(child.index));
  add("--worker-epoch", concat(child.epoch));
  add("--socket", worker_socket_path(options.run_directory, child));
  add("--control-fd", "3");
  add("--crash-fd", "4");
  add("--kv-fd", "5");
  add("--image-fd", "6");
  return arguments;
}

Status supervise(SupervisorOptions options, Log& log) {
  if (!options.build_arguments) options.build_arguments = child_arguments;
  DW_TRY(check_socket_path(options));
  DW_TRY(prepare_run_directory(options.run_directory));
  auto lock = FileLock::try_acquire(join_path(options.run_directory, "lock"));
  if (!lock) {
    if (lock.error().code != Code::kAborted) return lock.error();
    return Error{Code::kAborted,
                 concat("another server uses the run directory ", options.run_directory,
                        "; stop it, or choose another directory")};
  }
  DW_TRY(remove_old_sockets(options.run_directory));
  DW_ASSIGN(AdminSocket admin, AdminSocket::open(join_path(options.run_directory, "control.sock")));
  const std::string directory = options.run_directory;
  PatientLog patient(log, STDERR_FILENO);
  Supervisor supervisor(std::move(options), patient, std::move(*lock), std::move(admin));
  const Status outcome = supervisor.run();
  (void)remove_old_sockets(directory);
  return outcome;
}

}  // namespace deepwell::cluster
