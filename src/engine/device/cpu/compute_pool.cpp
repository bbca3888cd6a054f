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
// Signs soon after a change may tell of what was before it.
constexpr milliseconds kSettling{50};
constexpr int kTurnsPerLook = 64;

constexpr std::uint64_t cursor_of(std::uint32_t operation, std::uint32_t chunk) {
  return (static_cast<std::uint64_t>(operation) << 32) | chunk;
}

}  // namespace

ComputePool::ComputePool(std::uint32_t n_threads)
    : n_threads_(n_threads),
      homes_(std::make_unique<Home[]>(n_threads)),
      members_(std::make_unique<Member[]>(n_threads)) {
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
  for (std::uint32_t t = 0; t < n_threads_; ++t) {
    members_[t].mode.store(Mode::kFull);
    members_[t].mode.notify_all();
  }
  gather();
  for (std::thread& thread : threads_) thread.join();
}

void ComputePool::begin_step() {
  members_[0].crowding.skip();
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
    while (claim_and_run(home, thread)) members_[thread].look();
  }
}

/// The same in bursts; meanwhile the others take the chunks of its home.
void ComputePool::work_part_time(std::uint32_t thread) {
  Member& member = members_[thread];
  for (std::uint32_t i = 0; i < n_threads_; ++i) {
    const std::uint32_t home = (thread + i) % n_threads_;
    do {
      member.rest_if_over();
    } while (claim_and_run(home, thread));
  }
}

std::uint32_t ComputePool::count(Mode mode) const {
  std::uint32_t n = 0;
  for (std::uint32_t t = 0; t < n_threads_; ++t)
    n += members_[t].mode.load(std::memory_order_relaxed) == mode ? 1 : 0;
  return n;
}

/// Looks whether somebody gave a sign, or a rest is over.
void ComputePool::adapt() {
  std::uint32_t n_full = 0;
  std::uint32_t crowded = n_threads_;
  for (std::uint32_t t = 0; t < n_threads_; ++t) {
    Member& member = members_[t];
    const std::uint32_t n_signs = member.n_signs.load(std::memory_order_acquire);
    if (n_signs != std::exchange(member.n_signs_seen, n_signs)) crowded = t;
    n_full += member.mode.load(std::memory_order_relaxed) == Mode::kFull ? 1 : 0;
  }
  if (crowded == n_threads_ && n_full == n_threads_ && !is_spread_) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (crowded < n_threads_ && n_active() > 1) {
    if (is_spread_ && now - changed_at_ < kSettling) return;
    const bool was_in_vain = now - changed_at_ < rest_;
    rest_ = was_in_vain ? std::min(2 * rest_, kLongestRest) : kFirstRest;
    changed_at_ = now;
    give_way(crowded);
  } else if (now - changed_at_ >= rest_) {
    changed_at_ = now;
    grow();
  }
}

/// The last thread of this mode but the driver; 0 if there is none.
std::uint32_t ComputePool::last_of(Mode mode) const {
  std::uint32_t t = n_threads_ - 1;
  while (t > 0 && members_[t].mode.load(std::memory_order_relaxed) != mode) --t;
  return t;
}

/// A sign: first a processor for each thread, for where the system moves them about nobody knows which one is crowded;
/// then half a thread less, on the crowded one; then a whole thread less.
void ComputePool::give_way(std::uint32_t crowded) {
  const std::uint32_t last = last_of(Mode::kFull);
  if (!is_spread_) {
    if (!spread()) set_mode(last, Mode::kAway);
    return;
  }
  if (members_[crowded].mode.load(std::memory_order_relaxed) == Mode::kPartTime) {
    set_mode(crowded, Mode::kAway);
  } else if (last > 0) {
    std::swap(members_[last].processor, members_[crowded].processor);
    keep_to_processor(member_id(last), members_[last].processor);
    keep_to_processor(member_id(crowded), members_[crowded].processor);
    set_mode(last, Mode::kPartTime);
  } else {
    set_mode(last_of(Mode::kPartTime), Mode::kAway);
  }
  if (n_active() == 1) gather();
}

void ComputePool::grow() {
  if (const std::uint32_t away = last_of(Mode::kAway); away > 0) {
    set_mode(away, Mode::kFull);
  } else if (const std::uint32_t part_time = last_of(Mode::kPartTime); part_time > 0) {
    set_mode(part_time, Mode::kFull);
  } else {
    gather();
  }
}

/// Gives each thread that works a processor of its own. False where there are more processors, for then the system does it
/// better, or fewer.
bool ComputePool::spread() {
  allowed_ = allowed_processors();
  if (n_processors(allowed_) != n_threads_ || n_active() != n_threads_) return false;
  cpu_set_t left = allowed_;
  driver_id_ = own_thread_id();
  members_[0].processor = ::sched_getcpu();
  CPU_CLR(members_[0].processor, &left);
  for (int processor = 0, t = 1; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &left)) members_[t++].processor = processor;
  }
  for (std::uint32_t t = 0; t < n_threads_; ++t)
    keep_to_processor(member_id(t), members_[t].processor);
  is_spread_ = true;
  return true;
}

/// Lets the system place the threads again.
void ComputePool::gather() {
  if (!std::exchange(is_spread_, false)) return;
  keep_to_processors(
      0, allowed_);  // the driver may be another thread than it was, and have inherited its place
  for (std::uint32_t t = 0; t < n_threads_; ++t) keep_to_processors(member_id(t), allowed_);
}

pid_t ComputePool::member_id(std::uint32_t thread) const {
  return thread == 0 ? driver_id_ : members_[thread].id.load(std::memory_order_acquire);
}

void ComputePool::set_mode(std::uint32_t thread, Mode mode) {
  members_[thread].mode.store(mode, std::memory_order_release);
  members_[thread].mode.notify_all();
}

void ComputePool::run_erased(std::uint32_t n_chunks, ChunkFn fn, void* context) {
  if (n_threads_ > 1) adapt();
  const std::uint32_t n_active = this->n_active();
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
  std::uint32_t begin = 0;
  for (std::uint32_t t = 0, rank = 0; t < n_threads_; ++t) {
    if (members_[t].mode.load(std::memory_order_relaxed) == Mode::kAway) continue;
    const auto end =
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(n_chunks) * ++rank / n_active);
    homes_[t].cursor.store(cursor_of(operation_, begin), std::memory_order_release);
    homes_[t].end.store(end, std::memory_order_release);
    begin = end;
  }
  n_posted_.fetch_add(1, std::memory_order_release);
  work(0);
  for (int turn = 1; n_left_.load(std::memory_order_acquire) != 0; ++turn) {
    pause_briefly();
    if (turn % kTurnsPerLook == 0) members_[0].look();
  }
}

void ComputePool::thread_main(std::uint32_t thread) {
  check_float_environment();
  Member& member = members_[thread];
  member.id.store(own_thread_id(), std::memory_order_release);
  Mode was = Mode::kFull;
  std::uint32_t n_seen = 0;
  for (int turn = 1;; ++turn) {
    // In this order: whoever sees the destructor's step sees that it is stopping, and whoever does not is woken.
    const std::uint32_t step = step_.load(std::memory_order_acquire);
    if (is_stopping_.load(std::memory_order_relaxed)) return;
    if (step % 2 == 0) {
      step_.wait(step, std::memory_order_acquire);
      member.part_time.begin();
      member.crowding.skip();
      continue;
    }
    const Mode mode = member.mode.load(std::memory_order_acquire);
    if (mode != was) {
      if (was == Mode::kPartTime) member.part_time.stop();
      if (mode == Mode::kPartTime) member.part_time.start();
      was = mode;
    }
    if (mode == Mode::kAway) {
      member.mode.wait(mode, std::memory_order_acquire);
      continue;
    }
    const std::uint32_t n_posted = n_posted_.load(std::memory_order_acquire);
    if (n_posted == n_seen) {
      pause_briefly();
      if (turn % kTurnsPerLook != 0) continue;
      if (mode == Mode::kPartTime) {
        member.rest_if_over();
      } else {
        member.look();
      }
      continue;
    }
    n_seen = n_posted;
    if (mode == Mode::kPartTime) {
      work_part_time(thread);
    } else {
      work(thread);
    }
  }
}

}  // namespace deepwell::engine
