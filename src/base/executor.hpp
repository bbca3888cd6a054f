// Executor: where work runs (an event loop, the thread pool), and its timers.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/unique_function.hpp"

namespace deepwell {

using SteadyTime = std::chrono::steady_clock::time_point;

/// Names one pending timer of one executor; 0 names none.
using TimerId = std::uint64_t;

/// Runs posted work on its thread or threads. Every member is thread-safe. Work must not throw.
class Executor {
 public:
  virtual ~Executor() = default;

  /// Queues work; never runs it inside this call. Work still queued when the executor ends is
  /// destroyed unrun.
  virtual void post(UniqueFunction<void()> work) = 0;

  /// Runs work at or soon after `when`. The id stays valid until the work has run or was cancelled.
  virtual TimerId post_at(SteadyTime when, UniqueFunction<void()> work) = 0;

  /// True if the timer was still waiting: its work will not run. False: it ran, runs now, or never
  /// was.
  virtual bool cancel_timer(TimerId id) = 0;

  /// Whether the caller is on a thread of this executor.
  virtual bool is_current() const = 0;
};

}  // namespace deepwell
