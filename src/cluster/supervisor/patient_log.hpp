// PatientLog: the supervisor's own log lines, without waiting for whoever reads them.
#pragma once

#include <cstdint>

#include "base/log.hpp"

namespace deepwell::cluster {

/// Hands lines on to a log that writes to `fd`, but only while the descriptor takes them at once: as LogCopy for the
/// children's lines. What was left out is counted, and said as soon as there is room again. Not thread-safe: it is for
/// the one thread of the supervisor.
class PatientLog final : public Log {
 public:
  static constexpr std::size_t kMaxLineBytes = 3500;  // the rest is cut off

  PatientLog(Log& log, int fd) : log_(log), fd_(fd) {}
  void write(LogLevel level, std::string_view line) override;

 private:
  bool has_room() const;

  Log& log_;
  int fd_;
  std::uint64_t n_left_out_ = 0;
};

}  // namespace deepwell::cluster
