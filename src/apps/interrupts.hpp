// Interrupts: Ctrl-C as something to ask for, without a signal handler.
#pragma once

#include <csignal>

namespace deepwell::apps {

/// While it lives, SIGINT waits here instead of ending the process. Make it in main's thread before any other thread
/// starts: threads inherit the blocked mask.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// Whether Ctrl-C was pressed since the last call.
  bool take();

 private:
  sigset_t signals_{};
  sigset_t before_{};
};

}  // namespace deepwell::apps
