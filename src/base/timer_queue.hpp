// TimerQueue: work ordered by time; the part of an executor's timers that needs no thread.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/executor.hpp"

namespace deepwell {

/// Thread-safe. The owner sleeps until next_due() and runs what take_due() gives; add() tells when
/// to wake it earlier.
class TimerQueue {
 public:
  struct Added {
    TimerId id = 0;
    bool is_earliest = false;  // the owner must shorten its sleep
  };

  Added add(SteadyTime when, UniqueFunction<void()> work);
  bool cancel(TimerId id);
  std::optional<SteadyTime> next_due() const;
  /// Removes and returns the work that is due at `now`, in order of time.
  std::vector<UniqueFunction<void()>> take_due(SteadyTime now);

 private:
  using Key = std::pair<SteadyTime, TimerId>;

  mutable std::mutex mutex_;
  TimerId last_id_ = 0;
  std::map<Key, UniqueFunction<void()>> by_time_;
  std::unordered_map<TimerId, SteadyTime> when_;
};

}  // namespace deepwell
