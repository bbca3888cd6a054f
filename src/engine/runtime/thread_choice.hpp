// How many threads to compute with: found by measurement at a first start, kept in a small file.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace deepwell::engine {

/// What so many threads attain together.
struct ThreadTrial {
  std::uint32_t n_threads = 0;
  double read_gbps = 0.0;     // of memory, as decode reads weights
  double product_gops = 0.0;  // 10⁹ multiply-adds a second within the cache, as prefill multiplies
  bool is_disturbed = false;  // somebody else used the processors meanwhile
};

struct ThreadChoice {
  std::uint32_t n_threads = 1;
  std::uint32_t n_usable_cpus = 1;
  std::vector<ThreadTrial> trials;  // empty: by the plain rule, all that may be used
  std::string date;                 // "2026-11-22"; empty: not measured
  std::string why_not_measured;     // empty if it was
  bool is_kept = false;

  /// "2 of 2 processors: decode reads 26.1 GB/s with 2, 15.0 with 1; measured 2026-11-22"
  std::string explain() const;
};

/// What a kept choice is good for, in one line each: another machine, another limit or another version measures again.
struct ThreadChoiceKey {
  std::string processor;
  std::uint32_t n_usable_cpus = 1;
  std::string version;
};

using MeasureThreads = std::function<std::vector<ThreadTrial>(std::span<const std::uint32_t>)>;

/// Reads and multiplies with each number of threads on a ComputePool, within half a second. Memory: 256 MiB, less where
/// that is short.
std::vector<ThreadTrial> measure_threads(std::span<const std::uint32_t> numbers);

/// All usable processors, and halves of that down to one: the half is what has cores where two share one.
std::vector<std::uint32_t> thread_candidates(std::uint32_t n_usable_cpus);

/// The smallest number that attains within 5 % of the best, reading and multiplying being worth the same.
std::uint32_t best_of(const std::vector<ThreadTrial>& trials);

/// The kept choice in `file` if it was made for this key, otherwise measures (unless `measure` is empty) and keeps it.
/// What was disturbed, or cannot be kept, is not measured into use: then all usable processors.
ThreadChoice choose_threads(const std::string& file, const ThreadChoiceKey& key,
                            const MeasureThreads& measure);

}  // namespace deepwell::engine
