// Asking before writing: the descriptor is shared with others, so it cannot be made non-blocking.
#include "cluster/supervisor/patient_log.hpp"

#include <poll.h>

namespace deepwell::cluster {

// A pipe that polls writable takes PIPE_BUF (4096) bytes; a line and what the log puts before it are shorter.
bool PatientLog::has_room() const {
  pollfd out{fd_, POLLOUT, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

void PatientLog::write(LogLevel level, std::string_view line) {
  if (n_left_out_ > 0 && has_room()) {
    log_.warn("(", n_left_out_, " lines of log were left out: nobody read them)");
    n_left_out_ = 0;
  }
  if (n_left_out_ > 0 || !has_room()) {
    ++n_left_out_;
    return;
  }
  log_.write(level, line.substr(0, kMaxLineBytes));
}

}  // namespace deepwell::cluster
