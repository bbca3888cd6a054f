// Signal and sleeping.
#include "base/async_queue.hpp"

namespace deepwell {

void Signal::notify() {
  std::coroutine_handle<> waiter;
  {
    const std::lock_guard lock(mutex_);
    if (!waiter_) {
      is_set_ = true;
      return;
    }
    waiter = std::exchange(waiter_, nullptr);
  }
  executor_.post([waiter] { waiter.resume(); });
}

bool Signal::Wait::await_suspend(std::coroutine_handle<> self) const {
  const std::lock_guard lock(signal.mutex_);
  if (std::exchange(signal.is_set_, false)) return false;
  DW_CHECK(!signal.waiter_, "two coroutines wait for one Signal");
  signal.waiter_ = self;
  return true;
}

Task<void> sleep_until(Executor& executor, SteadyTime when, CancelToken cancel) {
  const auto signal = std::make_shared<Signal>(executor);
  auto wake = [signal] { signal->notify(); };
  const CancelCallback<decltype(wake)> on_cancel(cancel, wake);
  const TimerId timer = executor.post_at(when, wake);
  while (!cancel.stop_requested() && std::chrono::steady_clock::now() < when) {
    co_await signal->wait();
  }
  executor.cancel_timer(timer);
  co_await resume_on(executor);
}

}  // namespace deepwell
