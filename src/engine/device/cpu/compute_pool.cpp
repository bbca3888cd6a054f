// Claiming chunks, spinning inside a step, parking between steps.
#include "engine/device/cpu/compute_pool.hpp"

#include <algorithm>
#include <utility>

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

using std::chrono::milliseconds;

// How long a pool that lost a thread works without it: longer each time that it grew again in vain.
constexpr milliseconds kFirstRest{200};
constexpr milliseconds kLongestRest{3200};
constexpr int kTurnsPerLook = 64;

constexpr std::uint64_t cursor_of(std::uint32_t operation, std::uint32_t chunk) {
  return (static_cast<std::uint64_t>(operation) << 32) | chunk;
}

}  // namespace

ComputePool::ComputePool(std::uint32_t n_threads)
    : n_threads_(n_threads),
      homes_(std::make_unique<Home[]>(n_threads)),
      notices_(std::make_unique<Notice[]>(n_threads)),
      n_active_(n_threads) {
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
  n_active_.store(n_threads_);
  n_active_.notify_all();
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
    while (claim_and_run(home, thread)) notices_[thread].look();
  }
}

/// Fewer threads after a sign of crowding, one more after a rest.
void ComputePool::adapt() {
  std::uint32_t n_signs = 0;
  for (std::uint32_t t = 0; t < n_threads_; ++t)
    n_signs += notices_[t].n_signs.load(std::memory_order_relaxed);
  const bool is_crowded = n_signs != std::exchange(n_signs_, n_signs);
  const std::uint32_t n_active = n_active_.load(std::memory_order_relaxed);
  if (!is_crowded && n_active == n_threads_) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (is_crowded && n_active > 1) {
    const bool was_in_vain = now - changed_at_ < rest_;
    rest_ = was_in_vain ? std::min(2 * rest_, kLongestRest) : kFirstRest;
    changed_at_ = now;
    n_active_.store(n_active - 1, std::memory_order_relaxed);
  } else if (n_active < n_threads_ && now - changed_at_ >= rest_) {
    changed_at_ = now;
    n_active_.store(n_active + 1, std::memory_order_relaxed);
    n_active_.notify_all();
  }
}

void ComputePool::run_erased(std::uint32_t n_chunks, ChunkFn fn, void* context) {
  if (n_threads_ > 1) adapt();
  const std::uint32_t n_active = n_active_.load(std::memory_order_relaxed);
  if (n_active == 1 || n_chunks <= 1) {
    for (std::uint32_t chunk = 0; chunk < n_chunks; ++chunk) fn(context, chunk, 0);
    return;
  }
  ++operation_;
  // Close every home before changing what its chunks mean, so that no stale reader can pair old and new.
  for (std::uint32_t t = 0; t < n_threads_; ++t) homes_[t].end.store(0, std::memory_order_relaxed);
  fn_.store(fn, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  n_left_.store(n_chunks, std::memory_order_relaxed);
  for (std::uint32_t t = 0; t < n_active; ++t) {
    const auto begin =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(n_chunks) * t / n_active);
    const auto end =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(n_chunks) * (t + 1) / n_active);
    homes_[t].cursor.store(cursor_of(operation_, begin), std::memory_order_release);
    homes_[t].end.store(end, std::memory_order_release);
  }
  n_posted_.fetch_add(1, std::memory_order_release);
  work(0);
  for (int turn = 1; n_left_.load(std::memory_order_acquire) != 0; ++turn) {
    pause_briefly();
    if (turn % kTurnsPerLook == 0) notices_[0].look();
  }
}

void ComputePool::thread_main(std::uint32_t thread) {
  check_float_environment();
  std::uint32_t n_seen = 0;
  for (int turn = 1;; ++turn) {
    // In this order: whoever sees the destructor's step sees that it is stopping, and whoever does not is woken.
    const std::uint32_t step = step_.load(std::memory_order_acquire);
    if (is_stopping_.load(std::memory_order_relaxed)) return;
    if (step % 2 == 0) {
      step_.wait(step, std::memory_order_acquire);
      continue;
    }
    const std::uint32_t n_active = n_active_.load(std::memory_order_acquire);
    if (thread >= n_active) {
      n_active_.wait(n_active, std::memory_order_acquire);
      continue;
    }
    const std::uint32_t n_posted = n_posted_.load(std::memory_order_acquire);
    if (n_posted == n_seen) {
      pause_briefly();
      if (turn % kTurnsPerLook == 0) notices_[thread].look();
      continue;
    }
    n_seen = n_posted;
    work(thread);
  }
}

}  // namespace deepwell::engine
