// Writing without waiting to a descriptor that others share (so it cannot be made non-blocking).
#include "cluster/supervisor/log_copy.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::cluster {

void LogCopy::write(std::string_view bytes) {
  if (n_left_out_bytes_ > 0) {
    const std::string note =
        concat("(", n_left_out_bytes_, " bytes of log were left out: nobody read them)\n");
    if (write_some(note) < note.size()) {
      n_left_out_bytes_ += bytes.size();
      return;
    }
    n_left_out_bytes_ = 0;
  }
  n_left_out_bytes_ += bytes.size() - write_some(bytes);
}

std::size_t LogCopy::write_some(std::string_view bytes) const {
  constexpr std::size_t kPieceBytes = 4096;  // PIPE_BUF: a pipe that polls writable takes it whole
  std::size_t n_written = 0;
  while (n_written < bytes.size()) {
    pollfd out{fd_, POLLOUT, 0};
    if (::poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) break;
    const std::string_view piece = bytes.substr(n_written, kPieceBytes);
    const ssize_t n = ::write(fd_, piece.data(), piece.size());
    if (n <= 0) break;
    n_written += static_cast<std::size_t>(n);
  }
  return n_written;
}

}  // namespace deepwell::cluster
