// LogCopy: passes the children's log lines on to a descriptor that may be held or slow.
#pragma once

#include <cstddef>
#include <string_view>

namespace deepwell::cluster {

/// Writes only what the descriptor takes at once: a terminal held with Ctrl-S must not hold the
/// supervisor too. What was left out is counted, and said as soon as there is room again. SIGPIPE must
/// be blocked or ignored.
class LogCopy {
 public:
  explicit LogCopy(int fd) : fd_(fd) {}
  void write(std::string_view bytes);

 private:
  std::size_t write_some(std::string_view bytes) const;

  int fd_;
  std::size_t n_left_out_bytes_ = 0;
};

}  // namespace deepwell::cluster
