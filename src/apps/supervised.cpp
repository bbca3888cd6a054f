// The thread of the control channel.
#include "apps/supervised.hpp"

#include <charconv>
#include <chrono>
#include <cstdlib>

namespace deepwell::apps {

namespace {

constexpr std::chrono::milliseconds kTick{100};

}  // namespace

Supervised::Supervised(int control_fd, Log& log,
                       std::function<void(const cluster::ControlMessage&)> on_message)
    : log_(log),
      channel_(control_fd),
      on_message_(std::move(on_message)),
      thread_([this] { listen(); }) {}

Supervised::~Supervised() {
  is_stopping_ = true;
  thread_.join();
}

void Supervised::send(const cluster::ControlMessage& message) {
  const Status sent = channel_.send(message);
  if (!sent && !is_stopping_) log_.warn("the supervisor does not hear: ", sent.error().message);
}

void Supervised::listen() {
  auto next_tick = std::chrono::steady_clock::now();
  while (!is_stopping_) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_tick) {
      static_cast<void>(channel_.send({.kind = cluster::ControlKind::kTick}));
      next_tick = now + kTick;
    }
    const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(
        next_tick - std::chrono::steady_clock::now());
    auto message = channel_.receive(std::max(wait, std::chrono::milliseconds(1)));
    if (!message && message.error().code == Code::kUnavailable) {
      log_.error("the supervisor is gone: leaving");
      std::_Exit(5);
    }
    if (!message) {
      log_.warn("the supervisor said something unknown: ", message.error().message);
    } else if (*message) {
      on_message_(**message);
    }
  }
}

std::chrono::seconds limit_of(const cluster::ControlMessage& message,
                              std::chrono::seconds otherwise) {
  std::int64_t seconds = 0;
  const char* const end = message.text.data() + message.text.size();
  const auto read = std::from_chars(message.text.data(), end, seconds);
  return read.ec == std::errc() && seconds >= 0 ? std::chrono::seconds(seconds) : otherwise;
}

}  // namespace deepwell::apps
