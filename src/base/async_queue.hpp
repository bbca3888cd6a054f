// AsyncQueue<T>: pushed from any thread, awaited by one coroutine. How engine events reach a
// handler.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/task.hpp"

namespace deepwell {

/// A wake-up call for one waiting coroutine: a notify() before wait() is remembered, several count
/// as one.
class Signal {
 public:
  /// The waiter resumes on `executor`, which must live while somebody waits.
  explicit Signal(Executor& executor) : executor_(executor) {}

  /// Wakes the waiter, or lets the next wait() pass. Thread-safe; never resumes a coroutine inside
  /// this call.
  void notify();

  struct Wait {
    Signal& signal;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> self) const;
    void await_resume() const noexcept {}
  };
  /// One waiter at a time. May wake without a notify() meant for it: check the condition and wait
  /// again.
  Wait wait() { return Wait{*this}; }

 private:
  Executor& executor_;
  std::mutex mutex_;
  bool is_set_ = false;
  std::coroutine_handle<> waiter_;
};

/// Any number of producers, one consumer. A producer on another thread must share ownership
/// (shared_ptr): the consumer may end while push() runs.
template <class T>
class AsyncQueue {
 public:
  static constexpr std::size_t kUnbounded = SIZE_MAX;

  /// The consumer resumes on `consumer` (request.executor() in a handler).
  explicit AsyncQueue(Executor& consumer, std::size_t n_max = kUnbounded)
      : executor_(consumer), n_max_(n_max), signal_(std::make_shared<Signal>(consumer)) {}

  /// Never blocks. False if the queue is closed or holds n_max items: the item is dropped and the
  /// producer must care.
  bool push(T item) {
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_ || items_.size() >= n_max_) return false;
      items_.push_back(std::move(item));
    }
    signal_->notify();
    return true;
  }

  /// No push succeeds from now on; the consumer gets what is queued, then kOutOfRange.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    signal_->notify();
  }

  std::optional<T> try_pop() {
    const std::lock_guard lock(mutex_);
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }

  /// The next item. Errors: kCancelled (the token fired and nothing was queued), kOutOfRange
  /// (closed and empty).
  Task<Result<T>> pop(CancelToken cancel) {
    return pop_until(SteadyTime::max(), std::move(cancel));
  }

  /// As pop(), and kDeadlineExceeded when nothing came until `deadline`: the moment for a
  /// heartbeat.
  Task<Result<T>> pop_until(SteadyTime deadline, CancelToken cancel) {
    if (auto item = try_pop())
      co_return Result<T>(std::move(*item));  // no timer, no callback on the fast path
    auto wake = [signal = signal_] { signal->notify(); };
    const CancelCallback<decltype(wake)> on_cancel(cancel, wake);
    TimerId timer = 0;
    if (deadline != SteadyTime::max()) timer = executor_.post_at(deadline, wake);
    for (;;) {
      if (auto item = try_pop()) {
        if (timer != 0) executor_.cancel_timer(timer);
        co_return Result<T>(std::move(*item));
      }
      if (auto error = why_empty(deadline, cancel)) {
        if (timer != 0) executor_.cancel_timer(timer);
        co_return Result<T>(std::move(*error));
      }
      co_await signal_->wait();
    }
  }

 private:
  std::optional<Error> why_empty(SteadyTime deadline, const CancelToken& cancel) const {
    const std::lock_guard lock(mutex_);
    if (!items_.empty()) return std::nullopt;
    if (is_closed_) return Error{Code::kOutOfRange, "the queue is closed and empty"};
    if (cancel.stop_requested())
      return Error{Code::kCancelled, "cancelled while waiting for an event"};
    if (std::chrono::steady_clock::now() >= deadline)
      return Error{Code::kDeadlineExceeded, "no event came in time"};
    return std::nullopt;
  }

  Executor& executor_;
  const std::size_t n_max_;
  mutable std::mutex mutex_;
  std::deque<T> items_;
  bool is_closed_ = false;
  std::shared_ptr<Signal> signal_;  // owners: the queue and its pending timer and cancel callbacks
};

/// Waits until `when` or until cancelled, whichever comes first; continues on `executor`.
Task<void> sleep_until(Executor& executor, SteadyTime when, CancelToken cancel);

}  // namespace deepwell
