// Timers ordered by time, removable by id.
#include "base/timer_queue.hpp"

namespace deepwell {

TimerQueue::Added TimerQueue::add(SteadyTime when, UniqueFunction<void()> work) {
  const std::lock_guard lock(mutex_);
  const TimerId id = ++last_id_;
  const auto [position, was_inserted] = by_time_.emplace(Key{when, id}, std::move(work));
  when_.emplace(id, when);
  return Added{id, position == by_time_.begin()};
}

bool TimerQueue::cancel(TimerId id) {
  UniqueFunction<void()>
      dropped;  // destroyed after the lock: its captures may have destructors of their own
  const std::lock_guard lock(mutex_);
  const auto found = when_.find(id);
  if (found == when_.end()) return false;
  const auto position = by_time_.find(Key{found->second, id});
  dropped = std::move(position->second);
  by_time_.erase(position);
  when_.erase(found);
  return true;
}

std::optional<SteadyTime> TimerQueue::next_due() const {
  const std::lock_guard lock(mutex_);
  if (by_time_.empty()) return std::nullopt;
  return by_time_.begin()->first.first;
}

std::vector<UniqueFunction<void()>> TimerQueue::take_due(SteadyTime now) {
  std::vector<UniqueFunction<void()>> due;
  const std::lock_guard lock(mutex_);
  while (!by_time_.empty() && by_time_.begin()->first.first <= now) {
    const auto first = by_time_.begin();
    due.push_back(std::move(first->second));
    when_.erase(first->first.second);
    by_time_.erase(first);
  }
  return due;
}

}  // namespace deepwell
