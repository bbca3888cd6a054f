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

namespace deepwell::engine {

/// Runs operations split into chunks on a fixed set of threads, the caller being thread 0.
///
/// Each thread owns a home range of an operation's chunks, so that over the steps it meets the same weights again;
/// a thread that is through with its own takes chunks of the others. An operation ends when its chunks are done, not
/// when its threads have arrived: a thread that was preempted, or wakes late, finds nothing to claim.
///
/// A pool is as large as the processors that are free: when one of its threads shares its processor with somebody else's
/// work, the pool goes on with a thread less, and after a rest tries again. One thread on a processor of its own is faster
/// than two of which one is taken away in the middle of chunks.
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
  /// Those that work now; at most n_threads().
  std::uint32_t n_active() const { return n_active_.load(std::memory_order_relaxed); }

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
  // What a thread notices of others on its processor.
  struct alignas(64) Notice {
    Crowding crowding;
    std::atomic<std::uint32_t> n_signs{0};
    void look() {
      if (crowding.look()) n_signs.fetch_add(1, std::memory_order_relaxed);
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
  void thread_main(std::uint32_t thread);
  void adapt();
  void stop();

  std::uint32_t n_threads_;
  std::unique_ptr<Home[]> homes_;      // [n_threads]
  std::unique_ptr<Notice[]> notices_;  // [n_threads]
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

  // The driver's: how large the pool is, and when it may grow again.
  alignas(64) std::atomic<std::uint32_t> n_active_;  // threads from this number on sleep on it
  std::uint32_t n_signs_ = 0;                        // of all threads, at the last look
  std::chrono::milliseconds rest_{};
  SteadyTime changed_at_{};
};

}  // namespace deepwell::engine
