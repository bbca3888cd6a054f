// StopSignals: SIGTERM and SIGINT as requests to stop, without a signal handler.
#pragma once

#include <chrono>
#include <csignal>

#include "edge/serve.hpp"

namespace deepwell::edge {

/// Make one in main's thread before any other thread starts: threads inherit the blocked mask, so
/// that the signals wait here instead of ending the process. Undone by the destructor.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// SIGTERM, or the first SIGINT: kDrain. A second signal of either kind after the first SIGINT:
  /// kNow.
  StopRequest wait(std::chrono::milliseconds limit);

 private:
  sigset_t signals_{};
  sigset_t before_{};
  bool was_interrupted_ = false;
};

}  // namespace deepwell::edge
