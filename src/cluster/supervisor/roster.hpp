// Roster: who shall run, and what to do when somebody dies, falls silent or asks; decisions alone,
// without processes and with the clock handed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/child_process.hpp"
#include "base/executor.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "cluster/control/control.hpp"
#include "cluster/supervisor/incident.hpp"
#include "cluster/supervisor/restart_policy.hpp"

namespace deepwell::cluster {

enum class ChildKind : std::uint8_t { kFront, kWorker };

/// Names one life of one child. `set` counts the rolling changes: a front and workers of one program
/// version belong together.
struct ChildSpec {
  ChildKind kind = ChildKind::kWorker;
  std::uint32_t index = 0;  // 0 to n_workers - 1; two sets have the same indices
  std::uint64_t epoch = 0;  // of all children, never used again
  std::uint32_t set = 0;
};

/// "worker 0 (epoch 7)".
std::string name_of(const ChildSpec& child);

struct RosterOptions {
  std::uint32_t n_workers = 1;
  std::uint64_t first_epoch = 1;
  std::chrono::seconds drain_timeout{300};      // for answers that run when SIGTERM comes
  std::chrono::seconds drain_margin{5};         // what a front may need beyond it to leave
  std::chrono::milliseconds stop_grace{5'000};  // between SIGTERM and SIGKILL
  std::chrono::milliseconds tick{50};
  std::chrono::milliseconds tick_slack{25};  // a turn that is later does not count as silence
  std::chrono::milliseconds front_silence{600};
  std::chrono::milliseconds front_start_limit{60'000};  // until its first tick
  std::chrono::milliseconds worker_silence{3'000};      // thrice as long while a front lives
  std::chrono::seconds reload_limit{600};  // for the new to get ready, and for the old to leave
  std::uint32_t n_reload_deaths = 2;       // one more calls the reload off
  RestartLimits restarts;
  /// An exit code that no restart can mend (wrong options, no such model): in the very first life of
  /// a child it ends the supervisor with this error. Replaceable, because the table is the program's.
  std::function<std::optional<Code>(int exit_code)> final_error;
};

/// 2 to 9 but for 5 (unavailable: may pass) and sysexits' 64 to 78.
std::optional<Code> default_final_error(int exit_code);

/// What the roster asks for. Calls come from inside the roster's members and must not call back.
class Hands {
 public:
  virtual ~Hands() = default;
  /// Starts a child; returns its pid.
  virtual Result<int> spawn(const ChildSpec& child) = 0;
  virtual void signal(std::uint64_t epoch, int signal_number) = 0;
  virtual Status send(std::uint64_t epoch, const ControlMessage& message) = 0;
  virtual std::string socket_path(const ChildSpec& worker) = 0;
  virtual void record(const ChildSpec& child, Incident incident) = 0;
  /// Nobody of this set runs or will run: its memory may go.
  virtual void release_set(std::uint32_t set) = 0;
  virtual void close_listener() = 0;
  /// A step of the reload; `is_last`: it is over, one way or the other.
  virtual void report_reload(std::string_view line, bool is_last) = 0;
};

/// Not thread-safe.
class Roster {
 public:
  Roster(RosterOptions options, Hands& hands, Log& log);

  void start(SteadyTime now);
  void on_message(std::uint64_t epoch, const ControlMessage& message, SteadyTime now);
  /// A child whose channel closed is dead or about to be; it is killed if it is not.
  void on_channel_closed(std::uint64_t epoch, SteadyTime now);
  void on_death(std::uint64_t epoch, const ExitStatus& status, std::vector<std::uint64_t> suspects,
                SteadyTime now);
  /// To be called every `options.tick`, after everything that the children sent was handed in.
  void on_tick(SteadyTime now);

  /// SIGTERM: finish what runs, then leave. The second call kills everything.
  void drain(SteadyTime now);
  /// Error: kFailedPrecondition while another reload or a drain is under way.
  Status reload(SteadyTime now);

  /// The supervisor, then each child and each place that waits for one.
  std::vector<std::string> status(SteadyTime now) const;

  bool is_over() const { return phase_ == Phase::kOver; }
  /// Once over: success after a drain; the error of a child that cannot start; kCancelled when killed.
  const Status& outcome() const { return outcome_; }

 private:
  enum class Phase : std::uint8_t { kServing, kDraining, kStopping, kOver };
  enum class State : std::uint8_t { kStarting, kReady, kDraining, kStopping };
  enum class Stage : std::uint8_t { kWorkers, kFront, kOldFronts, kOldWorkers };
  struct Slot {
    ChildKind kind;
    std::uint32_t index;
    std::uint32_t set;
    RestartPolicy policy;
    std::uint64_t epoch = 0;  // of the child that lives in it; 0: none
    std::uint32_t n_starts = 0;
    std::optional<SteadyTime> respawn_at;
  };
  struct Child {
    ChildSpec spec;
    int pid = 0;
    State state = State::kStarting;
    bool has_spoken = false;
    bool is_first_life = false;
    double progress = 0.0;
    SteadyTime started;
    std::optional<SteadyTime> ready;
    std::chrono::milliseconds silent{0};  // by our own on-time turns
    std::optional<SteadyTime> kill_at;
    std::string kill_reason;  // why it was or will be killed
  };
  struct Reload {
    std::uint32_t set;
    Stage stage;
    SteadyTime deadline;
    std::uint32_t n_deaths = 0;
  };

  void add_slot(ChildKind kind, std::uint32_t index, std::uint32_t set);
  void spawn(Slot& slot, SteadyTime now);
  void fill_slot_later(Slot& slot, const Child& dead, bool was_killed_outside, SteadyTime now);
  void after_death(const Child& dead, const ExitStatus& status, SteadyTime now);
  void record(const Child& dead, const ExitStatus& status, std::vector<std::uint64_t> suspects,
              SteadyTime now);
  void fail(const Child& dead, const ExitStatus& status, Code code, SteadyTime now);
  void kill_worker(const Child& front, const ControlMessage& message, SteadyTime now);
  void kill(Child& child, std::string reason, SteadyTime now);
  void stop(Child& child, SteadyTime now);
  void ask_to_drain(Child& child, ControlKind how, std::chrono::seconds limit);
  void check_silence(Child& child, SteadyTime now);
  void check_drain_deadline(SteadyTime now);
  void greet(Child& front);
  void tell(Child& child, const ControlMessage& message);
  void tell_fronts(const ChildSpec& worker, const ControlMessage& message);
  ControlMessage about(const Child& worker, ControlKind kind);
  bool is_visible(std::uint32_t worker_set, std::uint32_t front_set) const;

  // Rolling change; in reload.cpp.
  void advance_reload(SteadyTime now);
  void start_new_front(SteadyTime now);
  void switch_sets(SteadyTime now);
  void drain_old_workers(SteadyTime now);
  void check_reload_deadline(SteadyTime now);
  void call_off(const std::string& why, SteadyTime now);
  void report(const std::string& line);
  void end_reload(const std::string& line);
  bool has_older_children(ChildKind kind) const;
  bool is_ready(ChildKind kind, std::uint32_t set) const;
  bool is_reload_pending() const;

  void advance(SteadyTime now);
  void kill_all(SteadyTime now);
  void drop_slots(const std::function<bool(const Slot&)>& is_dropped);
  void release_if_empty(std::uint32_t set);
  Slot* slot_of(std::uint64_t epoch);
  bool has_children(ChildKind kind) const;

  RosterOptions options_;
  Hands& hands_;
  Log& log_;
  Phase phase_ = Phase::kServing;
  Status outcome_;
  std::uint64_t next_epoch_;
  std::uint32_t current_set_ = 1;  // the one whose fronts take new connections
  std::uint32_t last_set_ = 1;
  std::vector<Slot> slots_;
  std::map<std::uint64_t, Child> children_;  // by epoch: stable while others come and go
  std::optional<Reload> reload_;
  std::optional<SteadyTime> drain_deadline_;
  std::optional<SteadyTime> last_tick_;
  bool is_killing_ = false;
};

}  // namespace deepwell::cluster
