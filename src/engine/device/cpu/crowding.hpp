// Crowding: whether a compute thread shares its processor with somebody else's work.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

namespace deepwell::engine {

/// A thread that never sleeps, on a processor that another process uses too, is taken off it for milliseconds at a time,
/// some hundred times a second, in the middle of a chunk for which all others wait. On a free processor it happens a few
/// times a second. Three times within a short time is taken for a sign. Belongs to one thread.
class Crowding {
 public:
  /// To be called often; looks at most every kEvery. True once for each sign.
  bool look() {
    const Clock::time_point now = Clock::now();
    if (now - looked_at_ < kEvery) return false;
    looked_at_ = now;
    const std::int64_t n = count_preemptions();
    bool is_sign = false;
    for (std::int64_t i = std::max(n_preemptions_, n - kSign); i < n; ++i) {
      const Clock::time_point oldest = at_[static_cast<std::size_t>(i % kSign)];
      at_[static_cast<std::size_t>(i % kSign)] = now;
      is_sign = is_sign || now - oldest < kShortTime;
    }
    n_preemptions_ = n;
    if (is_sign) at_ = {};  // each is counted in one sign only
    return is_sign;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kEvery{500};
  static constexpr std::chrono::milliseconds kShortTime{30};
  static constexpr std::int64_t kSign = 3;

  /// How often the system took this thread off its processor although it wanted to go on (getrusage(2)).
  static std::int64_t count_preemptions() {
    struct ::rusage usage {};
    return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
  }

  Clock::time_point looked_at_{};
  std::int64_t n_preemptions_ = 0;             // so far
  std::array<Clock::time_point, kSign> at_{};  // of the last ones, in a ring
};

}  // namespace deepwell::engine
