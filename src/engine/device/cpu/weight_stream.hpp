// WeightStream: weights that are larger than memory, read ahead of their use.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "engine/device/cpu/cpu_memory.hpp"

namespace deepwell::engine {

struct WeightStreamOptions {
  int fd = -1;                       // the file
  const CpuMemory* bytes = nullptr;  // the whole file, mapped; outlives the stream
  // Weights before this offset are used last in a step: the output projection is bound first.
  std::uint64_t first_used = 0;
  std::uint64_t n_together_bytes = 0;                 // that one operation needs at once, at most
  std::uint64_t slab_bytes = std::uint64_t{4} << 20;  // read at once; a multiple of the page size
  // Memory that pages of the file may take now. Asked now and then by the thread that drives the steps.
  std::function<std::uint64_t()> budget_bytes;
  Log* log = nullptr;
};

/// Steps use the file from one end to the other, again and again. A kernel that drops what was not used for the longest
/// time drops just what is needed next, and finds nothing in memory. So a part of the file, spread evenly over it, is
/// kept, and the rest passes through a window: threads that mostly sleep in the kernel read ahead of the computing and
/// let go of what was used.
///
/// All of it is page cache. What the window does not hold is read where it is touched, and what the kernel needs for
/// others it takes: a wrong guess costs time, never memory. Slabs are aligned in the file, so that no large page of the
/// cache lies in two of them.
///
/// One thread drives it: begin_step(), then await() and release() in the order of use.
class WeightStream {
 public:
  explicit WeightStream(const WeightStreamOptions& options);
  ~WeightStream();
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  /// `has_outputs`: whether this step comes to the weights that are used last. What is left of the step before is
  /// released.
  void begin_step(bool has_outputs);
  /// Whether await(end) would return at once.
  bool has_read(std::uint64_t end);
  /// Waits until what is used up to the byte before `end` (an offset of the file, not 0) has been read, or until that
  /// would take more than the window.
  void await(std::uint64_t end);
  /// The step needs nothing any more that is used before `end`.
  void release(std::uint64_t end);
  /// The end of the slab of the byte before `end`.
  std::uint64_t slab_end(std::uint64_t end) const {
    return (end + options_.slab_bytes - 1) / options_.slab_bytes * options_.slab_bytes;
  }

  /// What stays in memory.
  std::uint64_t n_kept_bytes() const { return n_kept_ * options_.slab_bytes; }

 private:
  // A slab's place in the order of use, counted over all steps.
  using Position = std::uint64_t;
  using SteadyTime = std::chrono::steady_clock::time_point;

  std::uint64_t slab_of(Position position) const;
  Position position_of(std::uint64_t end) const;
  bool is_kept(std::uint64_t slab) const;
  bool can_read() const;
  bool has_read_all_to(Position position) const;
  void skip_unused();
  void release_before(Position bound);
  void keep(std::uint64_t n_budget_bytes);
  void ask_budget();
  void reader_main();
  void tell_speed();
  void populate(std::uint64_t slab) const;
  void drop(std::uint64_t slab) const;
  std::uint64_t n_bytes_of(std::uint64_t slab) const;

  const WeightStreamOptions options_;
  const std::uint64_t n_slabs_;  // of the file
  const std::uint64_t
      first_slab_;  // used first in a step, and last too where both parts meet in it: always kept
  const std::uint64_t n_first_;      // positions of a step before those of the output projection
  const std::uint64_t n_per_step_;   // positions of a step with outputs
  std::vector<std::uint64_t> rank_;  // [n_slabs_] the lower, the sooner a slab is kept
  // The driver's:
  SteadyTime asked_at_{};  // for the budget
  SteadyTime began_at_{};  // this step
  double waited_s_ = 0.0;  // in this step
  bool has_told_ = false;  // how fast the disk is

  std::mutex mutex_;  // guards all below
  std::condition_variable for_readers_, for_driver_;
  Position step_begin_ = 0, step_end_ = 0;  // this step's
  Position next_ = 0;                       // to be read
  std::vector<Position> reading_;
  std::deque<Position> window_;      // not kept; read, or being read, and not yet released
  std::deque<std::uint64_t> drops_;  // slabs to let go of
  std::uint64_t n_dropping_ = 0;     // that a reader lets go of now
  std::uint64_t n_kept_ = 0;
  std::uint64_t n_window_ = 0;  // slabs at most
  bool is_stopping_ = false;

  std::vector<std::thread> readers_;  // last: they use everything above
};

}  // namespace deepwell::engine
