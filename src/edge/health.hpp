// HealthWatch: whether the engine does what it is asked to, judged by its progress and not by its
// word.
#pragma once

#include <chrono>
#include <mutex>

#include "engine/runtime/generator.hpp"

namespace deepwell::edge {

enum class Health : std::uint8_t {
  kLoading,  // there is no model yet
  kReady,
  kDegraded,  // answers flow, but would not survive this server: the journal does not work
  kDraining,
  kStalled,   // work is pending and nothing is computed
  kNoWorker,  // no worker gives tokens
};

/// Thread-safe. Never waits for the engine: it reads counters that the engine publishes.
class HealthWatch {
 public:
  using Clock = std::chrono::steady_clock;

  HealthWatch(const engine::Generator& generator, std::chrono::milliseconds stall_limit)
      : generator_(generator), stall_limit_(stall_limit) {}

  /// Work is pending and no layer was computed for `stall_limit`, as far as samples tell: sample
  /// often.
  bool is_stalled(Clock::time_point now = Clock::now());

 private:
  const engine::Generator& generator_;
  const std::chrono::milliseconds stall_limit_;
  std::mutex mutex_;
  std::uint64_t n_progress_ = 0;  // steps and layers at the last sample that differed
  Clock::time_point last_progress_ = Clock::now();
};

}  // namespace deepwell::edge
