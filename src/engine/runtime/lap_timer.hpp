// LapTimer: where the time of a start goes, for the log.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/log.hpp"

namespace deepwell::engine {

/// Writes one debug line when it ends: "load: file 5.1 ms, weights 12.0 ms".
class LapTimer {
 public:
  LapTimer(Log& log, std::string_view what) : log_(log), line_(what) {}
  LapTimer(const LapTimer&) = delete;
  LapTimer& operator=(const LapTimer&) = delete;
  ~LapTimer() { log_.debug(line_); }

  /// Ends a lap.
  void lap(std::string_view name) {
    const std::int64_t now = monotonic_ns();
    const double ms = static_cast<double>(now - begin_ns_) / 1e6;
    line_ += concat(n_laps_++ == 0 ? ": " : ", ", name, " ", format_fixed(ms, 1), " ms");
    begin_ns_ = now;
  }

 private:
  Log& log_;
  std::string line_;
  int n_laps_ = 0;
  std::int64_t begin_ns_ = monotonic_ns();
};

}  // namespace deepwell::engine
