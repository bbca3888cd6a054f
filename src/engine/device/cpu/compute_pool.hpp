// ComputePool: the threads that run one operation after the other, by chunks.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "engine/device/cpu/crowding.hpp"
#include "engine/device/cpu/processor_share.hpp"

namespace deepwell::engine {

/// Runs operations split into chunks on a fixed set of threads, the caller being thread 0.
///
/// Each thread owns a home range of an operation's chunks, so that over the steps it meets the same weights again;
/// a thread that is through with its own takes chunks of the others. An operation ends when its chunks are done, not
/// when its threads have arrived: a thread that was preempted, or wakes late, finds nothing to claim.
///
/// A thread that shares its processor with somebody else's work is taken off it in the middle of chunks, and all others
/// wait. So the last thread becomes a part-time thread on that processor: it works half of the time, going between chunks
/// of its own accord, and the others keep to processors of their own. If it is interrupted even so, the pool goes on
/// without it. After a rest the pool tries to be whole again. The driver works all the time.
///
/// One thread (the one that calls run()) drives a pool. No lock and no allocation in run().
class ComputePool {
 public:
  /// At least one thread. Throws std::system_error if the system has no more threads. Threads beyond the caller are started here and park until a step begins.
  explicit ComputePool(std::uint32_t n_threads);
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  std::uint32_t n_threads() const { return n_threads_; }
  /// Those that work now, all or half of the time; at most n_threads().
  std::uint32_t n_active() const { return n_threads_ - count(Mode::kAway); }
  /// Those of them that work half of the time.
  std::uint32_t n_part_time() const { return count(Mode::kPartTime); }

  /// Wakes the threads: until end_step() they spin for work. Outside a step run() works too, on the caller alone.
  void begin_step();
  void end_step();

  /// Calls fn(chunk, thread) once for every chunk in [0, n_chunks), on several threads; returns when all are done.
  /// fn must not throw. What the chunks wrote is visible to the caller afterwards.
  template <class Fn>
  void run(std::uint32_t n_chunks, Fn&& fn) {
    using Callable = std::remove_reference_t<Fn>;
    run_erased(
        n_chunks,
        [](void* context, std::uint32_t chunk, std::uint32_t thread) {
          (*static_cast<Callable*>(context))(chunk, thread);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  enum class Mode : std::uint32_t { kFull, kPartTime, kAway };

  struct alignas(64) Member {
    // The thread's; the driver reads the atomics.
    Crowding crowding;
    PartTime part_time;
    std::atomic<std::uint32_t> n_signs{0};
    std::atomic<pid_t> id{-1};  // as the system calls it

    // The driver's; the thread reads its mode, and sleeps on it while it is away.
    std::atomic<Mode> mode{Mode::kFull};
    std::uint32_t n_signs_seen = 0;
    int processor = -1;  // its own, while the threads are spread

    void look() { note(crowding.look()); }
    /// For a part-time thread, where nobody waits for it.
    void rest_if_over() {
      if (!part_time.is_over()) return;
      note(crowding.check());
      part_time.rest();
      crowding.skip();
    }
    void note(bool is_sign) {
      if (!is_sign) return;
      n_signs.fetch_add(1, std::memory_order_release);
    }
  };
  using SteadyTime = std::chrono::steady_clock::time_point;

  using ChunkFn = void (*)(void* context, std::uint32_t chunk, std::uint32_t thread);

  // A home range's cursor: operation number in the upper half, next chunk in the lower. Claiming compares the whole
  // word, so a thread that still holds an old operation's number can never claim a new one's chunk.
  struct alignas(64) Home {
    std::atomic<std::uint64_t> cursor{0};
    std::atomic<std::uint32_t> end{0};
  };

  void run_erased(std::uint32_t n_chunks, ChunkFn fn, void* context);
  void work(std::uint32_t thread);
  bool claim_and_run(std::uint32_t home, std::uint32_t thread);
  void work_part_time(std::uint32_t thread);
  void thread_main(std::uint32_t thread);
  std::uint32_t count(Mode mode) const;
  void adapt();
  std::uint32_t last_of(Mode mode) const;
  void give_way(std::uint32_t crowded);
  void grow();
  bool spread();
  void gather();
  pid_t member_id(std::uint32_t thread) const;
  void set_mode(std::uint32_t thread, Mode mode);
  void stop();

  std::uint32_t n_threads_;
  std::unique_ptr<Home[]> homes_;      // [n_threads]
  std::unique_ptr<Member[]> members_;  // [n_threads]
  std::vector<std::thread> threads_;

  // The operation. Written by the driver before its number appears in the cursors; a reader uses what it read only
  // after a successful claim, which proves that the operation had not ended.
  std::atomic<ChunkFn> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::uint32_t operation_ = 0;
  alignas(64) std::atomic<std::uint32_t> n_left_{0};
  alignas(64) std::atomic<std::uint32_t> n_posted_{
      0};  // grows with every operation: what spinning threads watch
  alignas(64) std::atomic<std::uint32_t> step_{0};  // odd inside a step; threads park on it
  std::atomic<bool> is_stopping_{false};

  // The driver's: when the pool changed, and when it may grow again.
  std::chrono::milliseconds rest_{};
  SteadyTime changed_at_{};
  bool is_spread_ = false;  // each thread keeps to a processor
  cpu_set_t allowed_{};     // before that
  pid_t driver_id_ = -1;    // who was the driver then
};

}  // namespace deepwell::engine
