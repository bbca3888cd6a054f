// Claiming chunks, spinning inside a step, parking between steps.
#include "engine/device/cpu/compute_pool.hpp"

#include <chrono>

#include "base/check.hpp"
#include "engine/device/cpu/float_environment.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace deepwell::engine {

namespace {

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

/// Notices that this thread was taken off its processor while it spun, and then waits politely for a while: a thread
/// that keeps spinning beside a busy process uses up its share and is preempted for milliseconds at a time, in the
/// middle of a chunk; one that gives way in time is not.
class Politeness {
 public:
  /// To be called in every turn of a waiting loop.
  void wait() {
    if (++n_turns_ % 64 != 0) {
      pause_briefly();
      return;
    }
    const Clock::time_point now = Clock::now();
    if (last_ != Clock::time_point{} && now - last_ > kPreempted) polite_until_ = now + kPoliteFor;
    if (now < polite_until_) std::this_thread::sleep_for(kNap);
    last_ = Clock::now();
  }
  void done_waiting() { last_ = {}; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kPreempted = std::chrono::microseconds(500);
  static constexpr auto kPoliteFor = std::chrono::milliseconds(100);
  static constexpr auto kNap = std::chrono::microseconds(100);

  std::uint32_t n_turns_ = 0;
  Clock::time_point last_{};
  Clock::time_point polite_until_{};
};

constexpr std::uint64_t cursor_of(std::uint32_t operation, std::uint32_t chunk) {
  return (static_cast<std::uint64_t>(operation) << 32) | chunk;
}

}  // namespace

ComputePool::ComputePool(std::uint32_t n_threads)
    : n_threads_(n_threads), homes_(std::make_unique<Home[]>(n_threads)) {
  DW_CHECK(n_threads >= 1, "a pool has at least one thread");
  threads_.reserve(n_threads - 1);
  try {
    for (std::uint32_t t = 1; t < n_threads; ++t) {
      threads_.emplace_back([this, t] { thread_main(t); });
    }
  } catch (...) {  // the system has no more threads to give: those that started must end
    stop();
    throw;
  }
}

ComputePool::~ComputePool() { stop(); }

void ComputePool::stop() {
  is_stopping_.store(true);
  step_.fetch_add(2);
  step_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ComputePool::begin_step() {
  step_.fetch_or(1, std::memory_order_release);
  step_.notify_all();
}

void ComputePool::end_step() { step_.fetch_add(1, std::memory_order_release); }

bool ComputePool::claim_and_run(std::uint32_t home, std::uint32_t thread) {
  std::uint64_t cursor = homes_[home].cursor.load(std::memory_order_acquire);
  for (;;) {
    const auto chunk = static_cast<std::uint32_t>(cursor);
    // These may belong to another operation than the cursor; the compare-exchange below decides.
    const std::uint32_t end = homes_[home].end.load(std::memory_order_acquire);
    const ChunkFn fn = fn_.load(std::memory_order_relaxed);
    void* const context = context_.load(std::memory_order_relaxed);
    if (chunk >= end) return false;
    if (homes_[home].cursor.compare_exchange_weak(cursor, cursor + 1, std::memory_order_acq_rel,
                                                  std::memory_order_acquire)) {
      fn(context, chunk, thread);
      n_left_.fetch_sub(1, std::memory_order_acq_rel);
      return true;
    }
  }
}

void ComputePool::work(std::uint32_t thread) {
  for (std::uint32_t i = 0; i < n_threads_; ++i) {
    const std::uint32_t home = (thread + i) % n_threads_;
    while (claim_and_run(home, thread)) {
    }
  }
}

void ComputePool::run_erased(std::uint32_t n_chunks, ChunkFn fn, void* context) {
  if (n_threads_ == 1 || n_chunks <= 1) {
    for (std::uint32_t chunk = 0; chunk < n_chunks; ++chunk) fn(context, chunk, 0);
    return;
  }
  ++operation_;
  // Close every home before changing what its chunks mean, so that no stale reader can pair old and new.
  for (std::uint32_t t = 0; t < n_threads_; ++t) homes_[t].end.store(0, std::memory_order_relaxed);
  fn_.store(fn, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  n_left_.store(n_chunks, std::memory_order_relaxed);
  for (std::uint32_t t = 0; t < n_threads_; ++t) {
    const auto begin =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(n_chunks) * t / n_threads_);
    const auto end =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(n_chunks) * (t + 1) / n_threads_);
    homes_[t].cursor.store(cursor_of(operation_, begin), std::memory_order_release);
    homes_[t].end.store(end, std::memory_order_release);
  }
  n_posted_.fetch_add(1, std::memory_order_release);
  work(0);
  Politeness politeness;
  while (n_left_.load(std::memory_order_acquire) != 0) politeness.wait();
}

void ComputePool::thread_main(std::uint32_t thread) {
  check_float_environment();
  Politeness politeness;
  std::uint32_t n_seen = 0;
  for (;;) {
    // In this order: whoever sees the destructor's step sees that it is stopping, and whoever does not is woken.
    const std::uint32_t step = step_.load(std::memory_order_acquire);
    if (is_stopping_.load(std::memory_order_relaxed)) return;
    if (step % 2 == 0) {
      step_.wait(step, std::memory_order_acquire);
      politeness.done_waiting();
      continue;
    }
    const std::uint32_t n_posted = n_posted_.load(std::memory_order_acquire);
    if (n_posted == n_seen) {
      politeness.wait();
      continue;
    }
    n_seen = n_posted;
    work(thread);
    politeness.done_waiting();
  }
}

}  // namespace deepwell::engine
