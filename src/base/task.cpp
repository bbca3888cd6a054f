// Spawning a task nobody awaits.
#include "base/task.hpp"

namespace deepwell {

namespace {

detail::Detached run_detached(Executor& executor, Task<void> task, OnDone on_done) {
  std::exception_ptr failure;
  co_await resume_on(executor);
  {
    Task<void> running = std::move(task);  // its frame and parameters end before on_done is told
    try {
      co_await std::move(running);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (on_done) {
    on_done(failure);
  } else if (failure) {
    std::rethrow_exception(failure);
  }
}

}  // namespace

void spawn(Executor& executor, Task<void> task, OnDone on_done) {
  run_detached(executor, std::move(task), std::move(on_done));
}

}  // namespace deepwell
