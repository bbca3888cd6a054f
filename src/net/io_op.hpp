// IoOp: awaits one callback operation of a Stream. Internal to net.
#pragma once

#include <coroutine>
#include <utility>

#include "net/stream.hpp"

namespace deepwell::net {

/// `IoOp op([&](IoHandler done) { stream.write_some(bytes, std::move(done)); }); co_await op;` then
/// look at error and n. Named, never a temporary: see the rule in base/task.hpp.
template <class Start>
class IoOp {
 public:
  explicit IoOp(Start start) : start_(std::move(start)) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) {
    start_(IoHandler([this, self](boost::system::error_code result, std::size_t n_bytes) {
      error = result;
      n = n_bytes;
      self.resume();
    }));
  }
  void await_resume() const noexcept {}

  boost::system::error_code error;
  std::size_t n = 0;

 private:
  Start start_;
};

}  // namespace deepwell::net
