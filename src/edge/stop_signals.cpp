// Waiting for signals with sigtimedwait.
#include "edge/stop_signals.hpp"

#include <ctime>

namespace deepwell::edge {

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
}

StopSignals::~StopSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

StopRequest StopSignals::wait(std::chrono::milliseconds limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  timespec time{};
  time.tv_sec = static_cast<time_t>(seconds.count());
  time.tv_nsec = static_cast<long>((limit - seconds).count() * 1'000'000);
  const int signal = sigtimedwait(&signals_, nullptr, &time);
  if (signal < 0) return StopRequest::kNone;
  if (was_interrupted_) return StopRequest::kNow;
  was_interrupted_ = signal == SIGINT;
  return StopRequest::kDrain;
}

}  // namespace deepwell::edge
