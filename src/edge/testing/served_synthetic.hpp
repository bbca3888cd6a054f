// ServedSynthetic: the whole server over a synthetic generator, on a free port, for the life of a
// test.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "cluster/synthetic/synthetic_generator.hpp"
#include "edge/serve.hpp"
#include "edge/testing/test_client.hpp"

namespace deepwell::edge::testing {

class ServedSynthetic {
 public:
  explicit ServedSynthetic(cluster::SyntheticOptions synthetic = {}, ServeOptions options = {});
  ~ServedSynthetic();

  std::uint16_t port() const { return port_; }
  const Listening& listening() const { return listening_; }
  cluster::SyntheticGenerator& generator() { return generator_; }

  Reply send(std::string_view request) const { return exchange(port_, request); }
  /// POST /v1/chat/completions with the fields given besides the message "hi".
  Reply chat(const std::string& fields = "") const;

  void stop(StopRequest request) { stop_ = request; }
  /// Waits for serve() to return.
  bool wait_until_left(std::chrono::milliseconds limit);

 private:
  cluster::SyntheticGenerator generator_;
  Listening listening_;
  std::uint16_t port_ = 0;
  std::atomic<StopRequest> stop_ = StopRequest::kNone;
  std::future<Status> served_;
};

/// An engine that says this text, token by token.
cluster::SyntheticOptions saying(std::string text, std::chrono::microseconds pace = {});

/// Waits until the condition holds; false if it does not within the limit.
template <class Condition>
bool eventually(Condition condition,
                std::chrono::milliseconds limit = std::chrono::milliseconds(5000)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

/// A request body with one message and these further fields (",\"stream\":true").
std::string chat_body(const std::string& fields = "");

}  // namespace deepwell::edge::testing
