// A fixed set of threads over one queue, with timers.
#include "base/thread_pool.hpp"

#include <algorithm>

namespace deepwell {

namespace {
// Which pool the running thread belongs to; set once by each pool thread for itself.
thread_local const ThreadPool* current_pool = nullptr;
}  // namespace

ThreadPool::ThreadPool(unsigned n_threads) {
  threads_.reserve(std::max(1U, n_threads));
  for (unsigned i = 0; i < std::max(1U, n_threads); ++i) {
    threads_.emplace_back([this] { run(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::post(UniqueFunction<void()> work) {
  // Notified under the lock: the work may end the pool's last user, and the pool, before this returns.
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  changed_.notify_one();
}

TimerId ThreadPool::post_at(SteadyTime when, UniqueFunction<void()> work) {
  // The lock: no thread may be between reading next_due() and sleeping.
  const std::lock_guard lock(mutex_);
  const TimerQueue::Added added = timers_.add(when, std::move(work));
  if (added.is_earliest) changed_.notify_one();
  return added.id;
}

bool ThreadPool::cancel_timer(TimerId id) { return timers_.cancel(id); }

bool ThreadPool::is_current() const { return current_pool == this; }

std::size_t ThreadPool::n_queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void ThreadPool::run() {
  current_pool = this;
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    for (auto& work : timers_.take_due(std::chrono::steady_clock::now())) {
      queue_.push_back(std::move(work));
      changed_.notify_one();
    }
    if (!queue_.empty()) {
      auto work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;  // captures end outside the lock
      lock.lock();
    } else if (const auto due = timers_.next_due()) {
      changed_.wait_until(lock, *due);
    } else {
      changed_.wait(lock);
    }
  }
}

}  // namespace deepwell
