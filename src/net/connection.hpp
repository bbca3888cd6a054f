// Connection: one client's socket, served on one event loop until it closes. Internal to net.
#pragma once

#include <array>
#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/task.hpp"
#include "net/event_loop.hpp"
#include "net/message_parser.hpp"
#include "net/router.hpp"
#include "net/server.hpp"
#include "net/stream.hpp"

namespace deepwell::net {

/// What every connection of a server shares. Read-only but for the atomics.
struct ServerContext {
  ServerOptions options;
  Router router;
  Log* log = nullptr;

  std::atomic<bool> is_stop_announced{false};  // answers carry Connection: close
  std::atomic<bool> is_draining{false};        // and idle connections are closed
  std::atomic<std::uint64_t> n_accepted{0};
  std::atomic<std::uint64_t> n_refused{0};
  std::atomic<std::uint64_t> n_requests{0};
  std::atomic<std::uint64_t> n_bad_requests{0};
  std::atomic<std::uint64_t> n_clients_left{0};
  std::atomic<std::uint32_t> n_connections{0};
  std::atomic<std::uint32_t> n_active_requests{0};
};

/// What is left to know of a request when its parser is done.
struct MessageTraits {
  bool is_http_1_1 = true;
  bool keeps_alive = false;
};

/// Who is at the other end.
struct Peer {
  std::string ip;
  std::uint16_t port = 0;
  bool is_loopback = false;
};

/// Lives on its loop's thread: every member function is called there. Kept alive by its running
/// coroutine and by its outstanding operations.
///
/// A read is outstanding whenever somebody waits for bytes or a handler runs, so a client that
/// leaves is noticed at once. The exception: when kMaxInputBytes of a pipelining or uploading
/// client wait unread, reading pauses.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  Connection(ServerContext& server, EventLoop& loop, std::unique_ptr<Stream> stream, Peer peer);

  /// Serves until the connection has closed.
  Task<void> run();
  /// Tells a client beyond max_connections to come back later.
  Task<void> refuse();

  /// Called about ten times a second: ends waits that took too long.
  void check_deadlines(SteadyTime now);
  /// Closes if no request has begun.
  void close_if_idle();
  /// Cancels the running request and closes.
  void stop_now();

 private:
  friend class ConnectionWriter;
  friend class ConnectionBody;

  enum class Input { kData, kEnd, kTimeout };
  struct InputWait;

  // Reading.
  void start_read();
  void on_read(boost::system::error_code error, std::size_t n);
  void wake_reader();
  /// Waits for bytes behind input(), until `deadline`.
  Task<Input> more_input(SteadyTime deadline);
  std::string_view input() const { return std::string_view(input_).substr(n_input_consumed_); }
  void consume(std::size_t n);
  Task<Result<std::size_t>> read_body_some(std::span<char> out);

  // Writing.
  /// Sends all of `bytes`. Errors: kCancelled (the client is gone), kDeadlineExceeded (it does not
  /// read).
  Task<Status> write_all(std::string_view bytes);

  // The life of a connection.
  Task<bool> handshake();
  Task<bool> read_header();
  Task<void> serve_request();
  Task<void> answer_error(const HttpError& error);
  Task<void> linger();
  void on_client_gone();
  bool has_whole_body() const { return parser_ == nullptr || parser_->is_done(); }
  void drop_parser_if_done();
  bool skip_rest_of_body();
  Task<void> answer_missing_answer(ResponseWriter& writer);

  ServerContext& server_;
  EventLoop& loop_;
  std::unique_ptr<Stream> stream_;
  const Peer peer_;

  // Thousands of clients send one small request and then only listen: while nobody waits for their
  // bytes, a read has just the room to notice that something came.
  std::array<char, 16> watch_space_;
  std::vector<char> read_space_;  // empty while nobody waits; larger once a read filled it
  bool is_read_pending_ = false;
  bool is_input_ended_ = false;  // EOF, or the socket broke
  std::string input_;
  std::size_t n_input_consumed_ = 0;
  std::coroutine_handle<> reader_;  // waits in more_input()
  SteadyTime read_deadline_ = SteadyTime::max();
  bool is_read_timed_out_ = false;

  SteadyTime write_deadline_ = SteadyTime::max();
  bool is_write_timed_out_ = false;

  bool is_idle_ = false;                   // no byte of a request has come
  bool has_had_request_ = false;           // or waits for its first
  std::unique_ptr<RequestParser> parser_;  // of the request that is read; gone when it has its body
  MessageTraits message_;                  // of the request that is served
  Request* request_ = nullptr;             // while a handler runs
  bool is_answered_ = false;               // wholly sent: who leaves now misses nothing
  bool must_send_continue_ = false;
  bool must_close_ = false;  // after the running request
  bool must_reset_ = false;  // the stream was broken off where only RST says so
  SteadyTime body_started_at_{};
  std::uint64_t n_body_received_ = 0;
};

}  // namespace deepwell::net
