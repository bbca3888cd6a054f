// ThreadPool: the general-purpose executor for work that takes more than a millisecond (not the
// engine's compute pool).
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/executor.hpp"
#include "base/timer_queue.hpp"

namespace deepwell {

/// A fixed number of threads over one first-in first-out queue. The destructor lets running work
/// end, drops queued work and timers unrun, and joins; so every task that may hop here must have
/// ended before.
class ThreadPool final : public Executor {
 public:
  /// At least one thread.
  explicit ThreadPool(unsigned n_threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void post(UniqueFunction<void()> work) override;
  TimerId post_at(SteadyTime when, UniqueFunction<void()> work) override;
  bool cancel_timer(TimerId id) override;
  bool is_current() const override;

  unsigned n_threads() const { return static_cast<unsigned>(threads_.size()); }
  /// Work that waits for a thread: a gauge for metrics.
  std::size_t n_queued() const;

 private:
  void run();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<UniqueFunction<void()>> queue_;
  TimerQueue timers_;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace deepwell
