// Children: starts, deaths, silence and what fronts are told.
#include "cluster/supervisor/roster.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/concat.hpp"

namespace deepwell::cluster {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

namespace {

std::string_view kind_word(ChildKind kind) {
  return kind == ChildKind::kFront ? "front" : "worker";
}

std::string seconds_text(SteadyTime::duration duration) {
  return format_fixed(std::chrono::duration<double>(duration).count(), 1);
}

std::string how(const ExitStatus& status) {
  return status.signal != 0 ? concat("by signal ", status.signal)
                            : concat("with exit code ", status.exit_code);
}

}  // namespace

std::string name_of(const ChildSpec& child) {
  return concat(kind_word(child.kind), " ", child.index, " (epoch ", child.epoch, ")");
}

std::optional<Code> default_final_error(int exit_code) {
  switch (exit_code) {
    case 2:
      return Code::kInvalidArgument;
    case 3:
      return Code::kNotFound;
    case 4:
      return Code::kDataLoss;
    case 6:
      return Code::kResourceExhausted;
    case 7:
      return Code::kFailedPrecondition;
    case 8:
      return Code::kPermissionDenied;
    case 9:
      return Code::kUnimplemented;
    case 70:
      return Code::kInternal;
    default:
      if (exit_code >= 64 && exit_code <= 78) return Code::kInvalidArgument;
      return std::nullopt;
  }
}

Roster::Roster(RosterOptions options, Hands& hands, Log& log)
    : options_(std::move(options)), hands_(hands), log_(log), next_epoch_(options_.first_epoch) {
  if (!options_.final_error) options_.final_error = default_final_error;
}

void Roster::start(SteadyTime now) {
  for (std::uint32_t i = 0; i < options_.n_workers; ++i) {
    add_slot(ChildKind::kWorker, i, current_set_);
  }
  add_slot(ChildKind::kFront, 0, current_set_);
  for (std::size_t i = 0; i < slots_.size() && phase_ == Phase::kServing; ++i) {
    spawn(slots_[i], now);
  }
}

void Roster::add_slot(ChildKind kind, std::uint32_t index, std::uint32_t set) {
  slots_.push_back({kind, index, set, RestartPolicy(options_.restarts)});
}

void Roster::spawn(Slot& slot, SteadyTime now) {
  slot.respawn_at.reset();
  Child child;
  child.spec = {slot.kind, slot.index, next_epoch_++, slot.set};
  child.started = now;
  child.is_first_life = slot.n_starts++ == 0 && slot.set == 1;
  const Result<int> pid = hands_.spawn(child.spec);
  if (!pid) {
    log_.error("cannot start ", name_of(child.spec), ": ", pid.error().message);
    if (child.is_first_life) {
      outcome_ = pid.error();
      return kill_all(now);
    }
    if (is_reload_pending() && slot.set == reload_->set) return call_off(pid.error().message, now);
    return fill_slot_later(slot, child, false, now);
  }
  child.pid = *pid;
  slot.epoch = child.spec.epoch;
  Child& kept = children_.emplace(child.spec.epoch, child).first->second;
  log_.debug(name_of(kept.spec), " started as process ", kept.pid);
  if (slot.kind == ChildKind::kFront)
    greet(kept);
  else
    tell_fronts(kept.spec, about(kept, ControlKind::kWorkerLoading));
}

// A front is told how its world stands before it can ask.
void Roster::greet(Child& front) {
  for (auto& [epoch, worker] : children_) {
    if (worker.spec.kind != ChildKind::kWorker || worker.state == State::kStopping) continue;
    if (!is_visible(worker.spec.set, front.spec.set)) continue;
    // Draining first: a front takes its model from the first worker that stays.
    if (worker.spec.set < std::max(current_set_, front.spec.set)) {
      tell(front, about(worker, ControlKind::kWorkerDraining));
    }
    tell(front, about(worker, worker.state == State::kReady ? ControlKind::kWorkerReady
                                                            : ControlKind::kWorkerLoading));
  }
}

ControlMessage Roster::about(const Child& worker, ControlKind kind) {
  ControlMessage message{.kind = kind, .worker = worker.spec.index, .epoch = worker.spec.epoch};
  if (kind == ControlKind::kWorkerLoading) message.progress = worker.progress;
  if (kind == ControlKind::kWorkerReady) message.text = hands_.socket_path(worker.spec);
  return message;
}

// The old fronts learn of the workers of a rolling change only once it is certain.
bool Roster::is_visible(std::uint32_t worker_set, std::uint32_t front_set) const {
  return worker_set <= std::max(front_set, current_set_);
}

void Roster::tell_fronts(const ChildSpec& worker, const ControlMessage& message) {
  for (auto& [epoch, child] : children_) {
    if (child.spec.kind != ChildKind::kFront || !is_visible(worker.set, child.spec.set)) continue;
    tell(child, message);
  }
}

void Roster::tell(Child& child, const ControlMessage& message) {
  const Status sent = hands_.send(child.spec.epoch, message);
  if (sent || sent.error().code == Code::kUnavailable) return;  // its death will be noticed
  // It does not read, and what it missed cannot be repaired but by a new start.
  log_.warn(name_of(child.spec), ": ", sent.error().message);
  child.kill_at = SteadyTime::min();
  child.kill_reason = sent.error().message;
}

void Roster::on_message(std::uint64_t epoch, const ControlMessage& message, SteadyTime now) {
  const auto found = children_.find(epoch);
  if (found == children_.end()) return;
  Child& child = found->second;
  const bool is_worker = child.spec.kind == ChildKind::kWorker;
  child.silent = milliseconds(0);
  child.has_spoken = true;
  switch (message.kind) {
    case ControlKind::kTick:
      break;
    case ControlKind::kLoading:
      child.progress = message.progress;
      if (is_worker) tell_fronts(child.spec, about(child, ControlKind::kWorkerLoading));
      break;
    case ControlKind::kReady:
      if (child.state != State::kStarting) break;
      child.state = State::kReady;
      child.ready = now;
      child.progress = 1.0;
      log_.info(name_of(child.spec), " is ready after ", seconds_text(now - child.started), " s");
      if (is_worker) tell_fronts(child.spec, about(child, ControlKind::kWorkerReady));
      advance(now);
      break;
    case ControlKind::kKillWorker:
      kill_worker(child, message, now);
      break;
    case ControlKind::kDrained:
      stop(child, now);
      break;
    default:
      log_.warn(name_of(child.spec), " sent \"", format_control(message),
                "\", which only the supervisor says; ignored");
  }
}

void Roster::kill_worker(const Child& front, const ControlMessage& message, SteadyTime now) {
  if (front.spec.kind != ChildKind::kFront) return;
  const auto found = children_.find(message.epoch);
  if (found == children_.end() || found->second.spec.kind != ChildKind::kWorker ||
      found->second.spec.index != message.worker) {
    return;  // it is dead already; its successor did nothing
  }
  kill(found->second, concat("killed at the request of ", name_of(front.spec), ": ", message.text),
       now);
}

void Roster::kill(Child& child, std::string reason, SteadyTime now) {
  if (child.kill_reason.empty()) {
    log_.warn(name_of(child.spec), ": ", reason);
    child.kill_reason = std::move(reason);
  }
  hands_.signal(child.spec.epoch, SIGKILL);
  child.kill_at = now + std::chrono::seconds(5);  // again, in case that it was in vain
}

void Roster::stop(Child& child, SteadyTime now) {
  if (child.state == State::kStopping) return;
  child.state = State::kStopping;
  hands_.signal(child.spec.epoch, SIGTERM);
  child.kill_at = now + options_.stop_grace;
}

void Roster::on_channel_closed(std::uint64_t epoch, SteadyTime now) {
  const auto found = children_.find(epoch);
  if (found == children_.end() || found->second.kill_at) return;
  found->second.kill_at = now + options_.stop_grace;
}

void Roster::on_death(std::uint64_t epoch, const ExitStatus& status,
                      std::vector<std::uint64_t> suspects, SteadyTime now) {
  const auto found = children_.find(epoch);
  if (found == children_.end()) return;
  const Child dead = std::move(found->second);
  children_.erase(found);
  if (dead.spec.kind == ChildKind::kWorker) {
    ControlMessage died = about(dead, ControlKind::kWorkerDied);
    died.signal = status.signal;
    died.tags = suspects;
    tell_fronts(dead.spec, died);
  }
  after_death(dead, status, now);  // the successor first: writing may wait for a disk
  record(dead, status, std::move(suspects), now);
  advance(now);
  release_if_empty(dead.spec.set);
}

void Roster::after_death(const Child& dead, const ExitStatus& status, SteadyTime now) {
  Slot* const slot = slot_of(dead.spec.epoch);
  if (slot == nullptr) return;  // nobody shall come after it
  slot->epoch = 0;
  const std::optional<Code> code =
      status.signal == 0 ? options_.final_error(status.exit_code) : std::nullopt;
  if (dead.is_first_life && !dead.ready && code) return fail(dead, status, *code, now);
  if (is_reload_pending() && dead.spec.set == reload_->set &&
      ++reload_->n_deaths > options_.n_reload_deaths) {
    return call_off(concat(name_of(dead.spec), " died ", how(status), ", the ", reload_->n_deaths,
                           "rd death among the new children"),
                    now);
  }
  fill_slot_later(*slot, dead, status.signal == SIGKILL && dead.kill_reason.empty(), now);
}

void Roster::fill_slot_later(Slot& slot, const Child& dead, bool was_killed_outside,
                             SteadyTime now) {
  const milliseconds delay = slot.policy.on_death(dead.ready, now, was_killed_outside);
  if (delay.count() == 0) return spawn(slot, now);
  slot.respawn_at = now + delay;
  log_.error(
      kind_word(slot.kind), " ", slot.index, " died ", slot.policy.n_quick_deaths(),
      " times in a row soon after its start; the next start is in ", seconds_text(delay),
      " s. The files in `incidents` of the run directory hold its last words; signal 9 without "
      "a reason there is most often the kernel, out of memory: use a smaller context or model");
}

void Roster::fail(const Child& dead, const ExitStatus& status, Code code, SteadyTime now) {
  outcome_ =
      Error{code, concat(kind_word(dead.spec.kind), " ", dead.spec.index,
                         " cannot start (exit code ", status.exit_code, "); its message is above")};
  kill_all(now);
}

void Roster::record(const Child& dead, const ExitStatus& status,
                    std::vector<std::uint64_t> suspects, SteadyTime now) {
  const bool is_leaving = dead.state == State::kDraining || dead.state == State::kStopping;
  const bool is_gentle =
      dead.kill_reason.empty() &&
      (status.signal == SIGTERM || (status.signal == 0 && status.exit_code == 0));
  if (is_killing_ || (is_leaving && is_gentle)) return;
  log_.error(name_of(dead.spec), " died ", how(status), " after ", seconds_text(now - dead.started),
             " s", dead.kill_reason.empty() ? "" : concat(": ", dead.kill_reason));
  Incident incident;
  incident.child = concat(kind_word(dead.spec.kind), "-", dead.spec.index);
  incident.epoch = dead.spec.epoch;
  incident.status = status;
  incident.reason = dead.kill_reason;
  incident.uptime = duration_cast<milliseconds>(now - dead.started);
  incident.suspects = std::move(suspects);
  hands_.record(dead.spec, std::move(incident));
}

void Roster::on_tick(SteadyTime now) {
  const bool is_on_time = last_tick_ && now - *last_tick_ <= options_.tick + options_.tick_slack;
  last_tick_ = now;
  for (auto& [epoch, child] : children_) {
    if (is_on_time) child.silent += options_.tick;
    if (child.kill_at && now >= *child.kill_at) {
      kill(child, concat("did not leave within ", seconds_text(options_.stop_grace), " s"), now);
    }
    check_silence(child, now);
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].respawn_at && now >= *slots_[i].respawn_at) spawn(slots_[i], now);
  }
  check_reload_deadline(now);
  check_drain_deadline(now);
  advance(now);
}

// A worker's silence is judged by the fronts, which see its progress; ours is the judgement of last
// resort, for one that no front reaches: frozen while it loads, or before a new front came to it.
void Roster::check_silence(Child& child, SteadyTime now) {
  if (child.kill_at || child.state == State::kStopping) return;
  milliseconds limit = options_.front_silence;
  if (child.spec.kind == ChildKind::kWorker) {
    if (!child.has_spoken) return;
    limit = has_children(ChildKind::kFront) ? 3 * options_.worker_silence : options_.worker_silence;
  } else if (!child.has_spoken) {
    limit = options_.front_start_limit;
  } else if (child.state == State::kDraining) {
    limit = options_.stop_grace;  // the end of a process may be silent
  }
  if (child.silent < limit) return;
  kill(child, concat("gave no sign of life for ", seconds_text(child.silent), " s"), now);
}

void Roster::drain(SteadyTime now) {
  if (phase_ != Phase::kServing) {
    if (outcome_) outcome_ = Error{Code::kCancelled, "stopped at once by a second signal"};
    return kill_all(now);
  }
  if (is_reload_pending()) call_off("the server stops", now);
  if (reload_) end_reload("error: the server stops; the new processes had taken over");
  phase_ = Phase::kDraining;
  drain_deadline_ = now + options_.drain_timeout + options_.drain_margin;
  log_.info("stopping: running answers have ", options_.drain_timeout.count(),
            " s to end; a second signal stops at once");
  hands_.close_listener();
  // Workers are restarted until the last front has left: the answers that end now need them.
  drop_slots([](const Slot& slot) { return slot.kind == ChildKind::kFront; });
  for (auto& [epoch, child] : children_) {
    if (child.spec.kind == ChildKind::kFront)
      ask_to_drain(child, ControlKind::kDrain, options_.drain_timeout);
  }
  advance(now);
}

void Roster::ask_to_drain(Child& child, ControlKind how, std::chrono::seconds limit) {
  if (child.state == State::kStopping) return;
  child.state = State::kDraining;
  tell(child, {.kind = how, .text = concat(std::max<std::int64_t>(limit.count(), 0))});
}

void Roster::check_drain_deadline(SteadyTime now) {
  if (!drain_deadline_ || now < *drain_deadline_) return;
  if (is_killing_) {
    log_.error("some processes do not even end when killed; leaving them behind");
    phase_ = Phase::kOver;
    return;
  }
  for (auto& [epoch, child] : children_) {
    if (child.spec.kind != ChildKind::kFront || !child.kill_reason.empty()) continue;
    kill(child, "did not finish its answers within the limit for stopping", now);
  }
}

void Roster::advance(SteadyTime now) {
  if (phase_ == Phase::kServing) advance_reload(now);
  if (phase_ == Phase::kDraining && !has_children(ChildKind::kFront)) {
    phase_ = Phase::kStopping;
    drop_slots([](const Slot&) { return true; });
    for (auto& [epoch, child] : children_) stop(child, now);
  }
  if (phase_ == Phase::kStopping && children_.empty()) phase_ = Phase::kOver;
}

void Roster::kill_all(SteadyTime now) {
  is_killing_ = true;
  phase_ = Phase::kStopping;
  drain_deadline_ = now + std::chrono::seconds(10);
  if (reload_) end_reload("error: the server stops");
  hands_.close_listener();
  drop_slots([](const Slot&) { return true; });
  for (auto& [epoch, child] : children_) hands_.signal(epoch, SIGKILL);
  if (children_.empty()) phase_ = Phase::kOver;
}

void Roster::drop_slots(const std::function<bool(const Slot&)>& is_dropped) {
  std::erase_if(slots_, is_dropped);
}

void Roster::release_if_empty(std::uint32_t set) {
  const auto is_of_set = [set](const auto& slot) { return slot.set == set; };
  if (std::any_of(slots_.begin(), slots_.end(), is_of_set)) return;
  for (const auto& [epoch, child] : children_) {
    if (child.spec.set == set) return;
  }
  hands_.release_set(set);
}

Roster::Slot* Roster::slot_of(std::uint64_t epoch) {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [epoch](const Slot& slot) { return slot.epoch == epoch; });
  return found == slots_.end() ? nullptr : &*found;
}

bool Roster::has_children(ChildKind kind) const {
  return std::any_of(children_.begin(), children_.end(),
                     [kind](const auto& entry) { return entry.second.spec.kind == kind; });
}

std::vector<std::string> Roster::status(SteadyTime now) const {
  constexpr std::string_view kPhases[] = {"serving", "draining", "stopping", "over"};
  constexpr std::string_view kStages[] = {"workers", "front", "old-fronts", "old-workers"};
  constexpr std::string_view kStates[] = {"starting", "ready", "draining", "stopping"};
  std::vector<std::string> lines{
      concat("supervisor pid=", ::getpid(), " state=", kPhases[static_cast<std::size_t>(phase_)],
             " set=", current_set_,
             " reload=", reload_ ? kStages[static_cast<std::size_t>(reload_->stage)] : "none")};
  for (const auto& [epoch, child] : children_) {
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [e = epoch](const Slot& s) { return s.epoch == e; });
    lines.push_back(concat(kind_word(child.spec.kind), " index=", child.spec.index,
                           " epoch=", epoch, " pid=", child.pid, " set=", child.spec.set,
                           " state=", kStates[static_cast<std::size_t>(child.state)],
                           " progress=", format_fixed(child.progress, 2),
                           " uptime_s=", seconds_text(now - child.started),
                           " restarts=", slot == slots_.end() ? 0 : slot->n_starts - 1));
  }
  for (const Slot& slot : slots_) {
    if (!slot.respawn_at) continue;
    lines.push_back(concat(kind_word(slot.kind), " index=", slot.index, " set=", slot.set,
                           " state=waiting starts_in_s=", seconds_text(*slot.respawn_at - now),
                           " restarts=", slot.n_starts - 1));
  }
  return lines;
}

}  // namespace deepwell::cluster
