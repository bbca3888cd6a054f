// Task<T>: a lazy coroutine. Starts when awaited, resumes its awaiter by symmetric transfer when
// done.
//
//   Task<Result<Answer>> answer(Request& request, Executor& pool) {
//     auto work = [&] { return parse(request); };  // named: see the rule below
//     auto parsed = co_await offload(pool, request.executor(), std::move(work));
//     ...
//     co_return result;
//   }
//
// Where the compiler makes no tail calls (-O0, sanitizers), each await that ends without waiting keeps
// a stack frame until the next one that waits: 10,000 in a row are fine there, a million are not.
//
// The rule of g++ 12: inside a `co_await` expression it destroys some temporaries twice (lambdas,
// braced and aggregate temporaries). Name it, then move it. tools/check_co_await.py finds
// offenders.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/check.hpp"
#include "base/executor.hpp"

namespace deepwell {

template <class T = void>
class Task;

namespace detail {

// Symmetric transfer, and nothing cleverer: starting the task inside the awaiter's await_suspend() and
// looking afterwards whether it has ended would save the tail calls, but lets an awaiter go on upon the
// old thread when the task hopped to another one and ended there at once.
struct TaskPromiseBase {
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      return self.promise().continuation;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }

  std::coroutine_handle<> continuation;
  std::exception_ptr exception;
};

template <class T>
struct TaskPromise : TaskPromiseBase {
  Task<T> get_return_object() noexcept;
  template <class U>
  requires std::is_constructible_v<T, U&&>
  void return_value(U&& result) { value.emplace(std::forward<U>(result)); }
  T take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value);
  }
  std::optional<T> value;
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace detail

/// Owns a coroutine that has not finished or whose result was not taken. Await it once, as an
/// rvalue; an exception that left the coroutine is rethrown there. Never destroy a Task that is
/// running: it must end first (cancel it, then await it). References passed to a Task function must
/// outlive the Task.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;
  using value_type = T;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  struct Awaiter {
    std::coroutine_handle<promise_type> handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() const { return handle.promise().take(); }
  };
  Awaiter operator co_await() && noexcept {
    DW_CHECK(handle_ != nullptr, "await of an empty Task");
    return Awaiter{handle_};
  }

 private:
  friend promise_type;
  explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  void destroy() noexcept {
    if (handle_) handle_.destroy();
  }

  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise<T>>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<TaskPromise<void>>::from_promise(*this));
}

/// A coroutine that nobody awaits: it starts at once and frees itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

struct ResumeOn {
  Executor& executor;
  bool await_ready() const { return executor.is_current(); }
  void await_suspend(std::coroutine_handle<> self) const {
    executor.post([self] { self.resume(); });
  }
  void await_resume() const noexcept {}
};

}  // namespace detail

/// `co_await resume_on(executor);`: what follows runs on a thread of `executor` (at once if it
/// already does).
inline detail::ResumeOn resume_on(Executor& executor) { return detail::ResumeOn{executor}; }

/// Called when a spawned task has ended, on the thread where it ended; the pointer is null unless
/// it threw.
using OnDone = UniqueFunction<void(std::exception_ptr)>;

/// Starts `task` on `executor` and lets it run by itself. Without `on_done` an exception ends the
/// process: a task that may throw needs a barrier.
void spawn(Executor& executor, Task<void> task, OnDone on_done = nullptr);

/// Runs `work` on `pool` and comes back to `home` with its result. What `work` throws is rethrown
/// to the awaiter, on `home`.
template <class Work, class R = std::invoke_result_t<Work&>>
Task<R> offload(Executor& pool, Executor& home, Work work) {
  std::exception_ptr failure;
  co_await resume_on(pool);
  if constexpr (std::is_void_v<R>) {
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    co_await resume_on(home);
    if (failure) std::rethrow_exception(failure);
  } else {
    std::optional<R> result;
    try {
      result.emplace(work());
    } catch (...) {
      failure = std::current_exception();
    }
    co_await resume_on(home);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*result);
  }
}

namespace detail {

struct SyncWaitDone {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_done = false;

  void set() {
    const std::lock_guard lock(mutex);
    is_done = true;
    changed.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return is_done; });
  }
};

template <class T, class Out>
Detached run_and_signal(Task<T> task, Out& out, std::exception_ptr& failure, SyncWaitDone& done) {
  {
    Task<T> running = std::move(task);  // its frame and parameters end before the waiter is told
    try {
      if constexpr (std::is_void_v<T>) {
        co_await std::move(running);
      } else {
        out.emplace(co_await std::move(running));
      }
    } catch (...) {
      failure = std::current_exception();
    }
  }
  done.set();
}

}  // namespace detail

/// Runs `task` from this thread and blocks until it has ended: for tests and the command line.
/// Never on an executor's own thread. Rethrows what the task threw.
template <class T>
T sync_wait(Task<T> task) {
  using Stored = std::conditional_t<std::is_void_v<T>, char, T>;
  std::optional<Stored> out;
  std::exception_ptr failure;
  detail::SyncWaitDone done;
  detail::run_and_signal(std::move(task), out, failure, done);
  done.wait();
  if (failure) std::rethrow_exception(failure);
  if constexpr (!std::is_void_v<T>) return std::move(*out);
}

}  // namespace deepwell
