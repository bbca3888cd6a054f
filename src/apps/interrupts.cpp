// SIGINT taken by sigtimedwait.
#include "apps/interrupts.hpp"

#include <pthread.h>

#include <ctime>

namespace deepwell::apps {

Interrupts::Interrupts() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
}

Interrupts::~Interrupts() {
  (void)take();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool Interrupts::take() {
  constexpr timespec kNoWait{};
  bool is_taken = false;
  while (sigtimedwait(&signals_, nullptr, &kNoWait) == SIGINT) is_taken = true;
  return is_taken;
}

}  // namespace deepwell::apps
