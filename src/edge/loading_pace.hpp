// LoadingPace: how much longer loading takes, judged by how far it came in the time so far.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

namespace deepwell::edge {

/// Thread-safe.
class LoadingPace {
 public:
  using Clock = std::chrono::steady_clock;

  /// `progress`: 0 to 1. One that is smaller than before is another loading.
  void note(double progress, Clock::time_point now = Clock::now());

  /// Seconds until 1. None until there is enough to judge by; it grows again while nothing moves.
  std::optional<double> eta_s(Clock::time_point now = Clock::now()) const;

 private:
  mutable std::mutex mutex_;
  bool has_begun_ = false;
  double first_ = 0.0;
  double last_ = 0.0;
  Clock::time_point began_at_{};
};

}  // namespace deepwell::edge
