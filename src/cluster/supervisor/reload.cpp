// The rolling change: new workers, then a new front, beside the old ones; then the old ones leave.
#include <algorithm>

#include "base/concat.hpp"
#include "cluster/supervisor/roster.hpp"

namespace deepwell::cluster {

Status Roster::reload(SteadyTime now) {
  if (phase_ != Phase::kServing) {
    return Error{Code::kFailedPrecondition, "the server is stopping"};
  }
  if (reload_) {
    return Error{Code::kFailedPrecondition,
                 "another reload is under way; wait until it is done (`status` shows it)"};
  }
  reload_ = Reload{++last_set_, Stage::kWorkers, now + options_.reload_limit};
  report(concat("starting ", options_.n_workers, " new worker", options_.n_workers == 1 ? "" : "s",
                " beside the old"));
  for (std::uint32_t i = 0; i < options_.n_workers; ++i) {
    add_slot(ChildKind::kWorker, i, last_set_);
  }
  for (std::size_t i = 0; i < slots_.size() && reload_; ++i) {
    if (slots_[i].set == last_set_) spawn(slots_[i], now);
  }
  advance(now);
  return {};
}

// Until the switch nobody outside knows of the new children, and the change can be called off.
bool Roster::is_reload_pending() const {
  return reload_ && (reload_->stage == Stage::kWorkers || reload_->stage == Stage::kFront);
}

bool Roster::is_ready(ChildKind kind, std::uint32_t set) const {
  return std::all_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    if (slot.kind != kind || slot.set != set) return true;
    const auto child = children_.find(slot.epoch);
    return child != children_.end() && child->second.state == State::kReady;
  });
}

bool Roster::has_older_children(ChildKind kind) const {
  return std::any_of(children_.begin(), children_.end(), [&](const auto& entry) {
    return entry.second.spec.kind == kind && entry.second.spec.set < current_set_;
  });
}

void Roster::advance_reload(SteadyTime now) {
  if (!reload_) return;
  switch (reload_->stage) {
    case Stage::kWorkers:
      if (is_ready(ChildKind::kWorker, reload_->set)) start_new_front(now);
      break;
    case Stage::kFront:
      if (is_ready(ChildKind::kWorker, reload_->set) && is_ready(ChildKind::kFront, reload_->set)) {
        switch_sets(now);
      }
      break;
    case Stage::kOldFronts:
      if (!has_older_children(ChildKind::kFront)) drain_old_workers(now);
      break;
    case Stage::kOldWorkers:
      if (!has_older_children(ChildKind::kWorker)) {
        end_reload("ok: every old process has left");
      }
      break;
  }
}

void Roster::start_new_front(SteadyTime now) {
  report("the new workers are ready; starting a new front");
  reload_->stage = Stage::kFront;
  add_slot(ChildKind::kFront, 0, reload_->set);
  spawn(slots_.back(), now);
}

void Roster::switch_sets(SteadyTime now) {
  report("the new front is ready and takes new connections; running answers end on the old one");
  current_set_ = reload_->set;
  reload_->stage = Stage::kOldFronts;
  reload_->deadline = now + options_.reload_limit + options_.drain_margin;
  drop_slots([this](const Slot& slot) { return slot.set < current_set_; });
  for (auto& [epoch, child] : children_) {  // who was just being restarted is of no use any more
    if (child.spec.set < current_set_ && child.state == State::kStarting) stop(child, now);
  }
  for (auto& [front_epoch, front] : children_) {
    if (front.spec.kind != ChildKind::kFront || front.spec.set >= current_set_) continue;
    for (auto& [epoch, worker] : children_) {
      if (worker.spec.kind != ChildKind::kWorker || worker.state != State::kReady) continue;
      const bool is_new = worker.spec.set == current_set_;
      tell(front, about(worker, is_new ? ControlKind::kWorkerReady : ControlKind::kWorkerDraining));
    }
    ask_to_drain(front, ControlKind::kHandOver, options_.reload_limit);
  }
  advance(now);
}

void Roster::drain_old_workers(SteadyTime now) {
  report("the old front has left; its workers finish what they still have");
  reload_->stage = Stage::kOldWorkers;
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(reload_->deadline - now);
  for (auto& [epoch, child] : children_) {
    if (child.spec.kind == ChildKind::kWorker && child.spec.set < current_set_) {
      ask_to_drain(child, ControlKind::kDrain, left);
    }
  }
  advance(now);
}

void Roster::check_reload_deadline(SteadyTime now) {
  if (!reload_ || now < reload_->deadline) return;
  if (is_reload_pending()) {
    return call_off(
        concat("the new processes were not ready within ", options_.reload_limit.count(), " s"),
        now);
  }
  for (auto& [epoch, child] : children_) {
    if (child.spec.set >= current_set_ || !child.kill_reason.empty()) continue;
    if (child.spec.kind == ChildKind::kWorker)
      stop(child, now);
    else
      kill(child, "did not finish its answers within the limit for a reload", now);
  }
}

void Roster::call_off(const std::string& why, SteadyTime now) {
  const std::uint32_t set = reload_->set;
  end_reload(concat("error: reload called off, the old processes serve on: ", why));
  drop_slots([set](const Slot& slot) { return slot.set == set; });
  for (auto& [epoch, child] : children_) {
    if (child.spec.set == set) stop(child, now);
  }
  release_if_empty(set);
}

void Roster::report(const std::string& line) {
  log_.info("reload: ", line);
  hands_.report_reload(line, false);
}

void Roster::end_reload(const std::string& line) {
  if (line.starts_with("error"))
    log_.error("reload: ", line);
  else
    log_.info("reload: ", line);
  reload_.reset();
  hands_.report_reload(line, true);
}

}  // namespace deepwell::cluster
