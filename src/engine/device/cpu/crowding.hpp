// Crowding: whether a compute thread shares its processor with somebody else's work.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <ctime>

namespace deepwell::engine {

/// A thread that never sleeps, on a processor that another process needs all the time too, is taken off it for milliseconds
/// at a time, some hundred times a second, in the middle of chunks for which all others wait. The many short interruptions
/// of a machine that is not idle cost nothing beside that, so it is time that counts. Belongs to one thread.
class Crowding {
 public:
  /// To be called often; looks at most every kEvery. True once for each sign.
  bool look() { return Clock::now() - seen_.at >= kEvery && check(); }

  /// Looks now. A sign: others had the processor twice at least, for a good part of a short time.
  bool check() {
    const Seen before = seen_;
    skip();
    if (seen_.at - window_began_at_ > kWindow) {
      window_began_at_ = before.at;
      lost_ = {};
      n_losses_ = 0;
    }
    // A thread that waited for something gave its processor away itself.
    if (seen_.n_preemptions == before.n_preemptions || seen_.n_waits != before.n_waits)
      return false;
    const Clock::duration lost = seen_.at - before.at - (seen_.worked - before.worked);
    if (lost < kLeast) return false;
    lost_ += lost;
    if (++n_losses_ < 2 || lost_ < kSign) return false;
    window_began_at_ = {};  // each loss is counted in one sign only
    return true;
  }

  /// Takes no notice of what was since the last look: the thread slept.
  void skip() {
    seen_.at = Clock::now();
    timespec worked{};
    (void)::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &worked);
    seen_.worked = std::chrono::seconds(worked.tv_sec) + std::chrono::nanoseconds(worked.tv_nsec);
    struct ::rusage usage {};
    (void)::getrusage(RUSAGE_THREAD, &usage);
    seen_.n_preemptions = usage.ru_nivcsw;
    seen_.n_waits = usage.ru_nvcsw;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kEvery{500};
  static constexpr std::chrono::microseconds kLeast{300};
  static constexpr std::chrono::milliseconds kWindow{40};
  static constexpr std::chrono::milliseconds kSign{6};

  struct Seen {
    Clock::time_point at{};
    Clock::duration worked{};
    std::int64_t n_preemptions = 0;  // how often the system took it off its processor
    std::int64_t n_waits = 0;        // how often it gave it up
  };
  Seen seen_;
  Clock::time_point window_began_at_{};
  Clock::duration lost_{};  // in the window
  int n_losses_ = 0;
};

}  // namespace deepwell::engine
