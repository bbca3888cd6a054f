// EventLoop: one thread over one Asio context, seen from outside as an Executor. Internal to net.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>

#include "base/executor.hpp"
#include "base/timer_queue.hpp"

namespace deepwell::net {

/// Runs from construction until stop(). What is still queued then is dropped unrun.
class EventLoop final : public Executor {
 public:
  EventLoop();
  ~EventLoop() override;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void post(UniqueFunction<void()> work) override;
  TimerId post_at(SteadyTime when, UniqueFunction<void()> work) override;
  bool cancel_timer(TimerId id) override;
  bool is_current() const override;

  boost::asio::io_context& context() { return context_; }

  /// Ends the thread. Not from the loop itself.
  void stop();

 private:
  void arm_timer();

  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_running_;
  boost::asio::steady_timer timer_;
  TimerQueue timers_;
  // Calls of post() that have not returned: their work may already have run and ended the loop's last user.
  std::atomic<int> n_posting_{0};
  std::thread thread_;
};

}  // namespace deepwell::net
