// LoadStream: one request of a load client, over as many connections as it takes. Internal to load_client.
#pragma once

#include <sys/socket.h>

#include <string>

#include "apps/load_client.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::apps {

struct LoadAddress {
  sockaddr_storage storage{};
  socklen_t n_bytes = 0;
};

/// The first address of the target's host. Error: kInvalidArgument.
Result<LoadAddress> resolve_target(const LoadTarget& target);

/// Driven by its owner's epoll loop, edge-triggered: on_ready() reads and writes until nothing is left.
class LoadStream {
 public:
  /// `key` is the Idempotency-Key of this request. `epoll_fd` gets its sockets with `slot` as their data.
  LoadStream(const LoadPlan& plan, const LoadAddress& address, int epoll_fd, std::uint64_t slot,
             std::uint64_t number, std::string key, SteadyTime due);

  void start(SteadyTime now) { connect(now); }
  /// Something happened on its socket, or may have.
  void on_ready(SteadyTime now);
  /// Every few milliseconds: retries, limits, slow readers.
  void on_tick(SteadyTime now);

  bool is_over() const { return phase_ == Phase::kOver; }
  bool is_connecting() const { return phase_ == Phase::kConnecting; }
  /// Its answer has begun.
  bool is_running() const { return result_.n_token_events > 0 && !is_over(); }
  LoadResult& result() { return result_; }

 private:
  enum class Phase : std::uint8_t { kConnecting, kSending, kReading, kEnding, kWaiting, kOver };

  void connect(SteadyTime now);
  Status open_socket();
  std::string request_text() const;
  bool asks_for_rest() const { return !stream_id_.empty(); }
  void send_request(SteadyTime now);
  void receive(SteadyTime now, std::size_t max_bytes);
  void take_bytes(std::string_view bytes, SteadyTime now);
  void take_event(const StreamEvent& event, SteadyTime now);
  void note_token(SteadyTime now);
  void take_refusal(SteadyTime now);
  void on_broken(std::string why, SteadyTime now);
  void retry(std::string why, SteadyTime now);
  void finish(LoadEnd end, std::string message, SteadyTime now);

  const LoadPlan& plan_;
  const LoadAddress& address_;
  const int epoll_fd_;
  const std::uint64_t slot_;
  const std::string key_;
  const LoadReader reader_;

  Phase phase_ = Phase::kWaiting;
  ScopedFd fd_;
  std::string request_;
  std::size_t n_sent_bytes_ = 0;
  EventStreamParser parser_;
  AnswerReader answer_;
  std::string stream_id_;    // known once the answer has begun: what to ask the rest of
  bool was_broken_ = false;  // since the last event
  SteadyTime retry_at_;
  SteadyTime retry_deadline_;
  SteadyTime ending_deadline_;
  SteadyTime last_token_;
  SteadyTime last_slow_read_;
  LoadResult result_;
};

}  // namespace deepwell::apps
