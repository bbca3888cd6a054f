// RestartPolicy: how long to wait before a child that died is started again.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/executor.hpp"

namespace deepwell::cluster {

/// A death is quick if it comes before the child was ready, or less than `serving` after: a child
/// that served for longer has earned its place, however often it is killed. A ready child that somebody else
/// killed did nothing wrong, so its death is not quick; but the kernel kills from outside too when memory runs
/// out, and then again and again, so a long row of such deaths counts after all.
struct RestartLimits {
  std::chrono::milliseconds serving{5'000};
  std::uint32_t n_quick_deaths_at_once = 3;   // in a row, each followed by a start without delay
  std::uint32_t n_outside_kills_at_once = 8;  // in a row, of children that were ready
  std::array<std::chrono::milliseconds, 8> delays{
      std::chrono::milliseconds(200),    std::chrono::milliseconds(500),
      std::chrono::milliseconds(1'000),  std::chrono::milliseconds(2'000),
      std::chrono::milliseconds(5'000),  std::chrono::milliseconds(10'000),
      std::chrono::milliseconds(20'000), std::chrono::milliseconds(30'000)};  // then the last
};

/// Of one place for a child. Not thread-safe.
class RestartPolicy {
 public:
  explicit RestartPolicy(RestartLimits limits) : limits_(limits) {}

  /// Notes a death and says how long the successor waits; `ready` is when the child became ready, if
  /// it did; `was_killed_outside`: by a SIGKILL that the supervisor did not send.
  std::chrono::milliseconds on_death(std::optional<SteadyTime> ready, SteadyTime died,
                                     bool was_killed_outside = false);
  std::uint32_t n_quick_deaths() const { return n_quick_deaths_; }

 private:
  RestartLimits limits_;
  std::uint32_t n_quick_deaths_ = 0;
  std::uint32_t n_outside_kills_ = 0;  // in a row, none of them after `serving`
};

}  // namespace deepwell::cluster
