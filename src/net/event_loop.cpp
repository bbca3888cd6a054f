// One thread that runs one Asio context, with timers of the Executor interface on top.
#include "net/event_loop.hpp"

#include <boost/asio/post.hpp>

namespace deepwell::net {

EventLoop::EventLoop()
    : keep_running_(boost::asio::make_work_guard(context_)),
      timer_(context_),
      thread_([this] { context_.run(); }) {}

EventLoop::~EventLoop() { stop(); }

void EventLoop::stop() {
  if (!thread_.joinable()) return;
  context_.stop();
  thread_.join();
  while (n_posting_ > 0) std::this_thread::yield();
}

void EventLoop::post(UniqueFunction<void()> work) {
  ++n_posting_;
  boost::asio::post(context_, std::move(work));
  --n_posting_;
}

TimerId EventLoop::post_at(SteadyTime when, UniqueFunction<void()> work) {
  const TimerQueue::Added added = timers_.add(when, std::move(work));
  if (added.is_earliest) {
    if (is_current()) {
      arm_timer();
    } else {
      post([this] { arm_timer(); });
    }
  }
  return added.id;
}

bool EventLoop::cancel_timer(TimerId id) { return timers_.cancel(id); }

bool EventLoop::is_current() const { return std::this_thread::get_id() == thread_.get_id(); }

void EventLoop::arm_timer() {
  const auto due = timers_.next_due();
  if (!due) return;
  timer_.expires_at(*due);
  timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;  // re-armed for an earlier time
    for (auto& work : timers_.take_due(std::chrono::steady_clock::now())) work();
    arm_timer();
  });
}

}  // namespace deepwell::net
