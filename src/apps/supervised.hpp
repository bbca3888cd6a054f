// Supervised: a child's end of the control channel, and the thread that keeps it alive.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "base/log.hpp"
#include "cluster/control/control.hpp"

namespace deepwell::apps {

/// Ticks every 100 ms, hands in what the supervisor says, and ends the process at once when the
/// supervisor is gone: nobody would restart or stop it any more.
class Supervised {
 public:
  /// `control_fd` is the one named on the command line. `on_message` runs on a thread of its own.
  Supervised(int control_fd, Log& log,
             std::function<void(const cluster::ControlMessage&)> on_message);
  ~Supervised();
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;

  void send(const cluster::ControlMessage& message);

 private:
  void listen();

  Log& log_;
  cluster::ControlChannel channel_;
  const std::function<void(const cluster::ControlMessage&)> on_message_;
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

/// The limit that a drain or hand-over names; `otherwise` if it names none.
std::chrono::seconds limit_of(const cluster::ControlMessage& message,
                              std::chrono::seconds otherwise);

}  // namespace deepwell::apps
