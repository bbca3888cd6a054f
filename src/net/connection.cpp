// Serving one connection: header, handler, body, next request; deadlines; noticing that the client
// has left.
#include "net/connection.hpp"

#include <algorithm>

#include "base/concat.hpp"
#include "net/connection_writer.hpp"
#include "net/io_op.hpp"

namespace deepwell::net {

namespace {

constexpr std::size_t kMaxInputBytes = 64 * 1024;  // unread bytes held beside a running handler
constexpr std::size_t kSmallReadBytes = 512;
constexpr std::size_t kLargeReadBytes = 16 * 1024;
constexpr std::size_t kMaxLingerBytes = 1024 * 1024;
constexpr std::chrono::seconds kLingerTime{1};

SteadyTime now() { return std::chrono::steady_clock::now(); }

}  // namespace

class ConnectionBody final : public BodySource {
 public:
  explicit ConnectionBody(Connection& connection) : connection_(connection) {}
  Task<Result<std::size_t>> read_some(std::span<char> space) override {
    return connection_.read_body_some(space);
  }

 private:
  Connection& connection_;
};

Connection::Connection(ServerContext& server, EventLoop& loop, std::unique_ptr<Stream> stream,
                       Peer peer)
    : server_(server), loop_(loop), stream_(std::move(stream)), peer_(std::move(peer)) {}

// --- reading -----------------------------------------------------------------------------------

struct Connection::InputWait {
  Connection& connection;
  SteadyTime deadline;

  bool await_ready() const noexcept { return connection.is_input_ended_; }
  void await_suspend(std::coroutine_handle<> self) const {
    connection.reader_ = self;
    connection.read_deadline_ = deadline;
    connection.start_read();
  }
  Input await_resume() const {
    if (std::exchange(connection.is_read_timed_out_, false)) return Input::kTimeout;
    return connection.is_input_ended_ ? Input::kEnd : Input::kData;
  }
};

Task<Connection::Input> Connection::more_input(SteadyTime deadline) {
  InputWait wait{*this, deadline};
  co_return co_await wait;
}

void Connection::start_read() {
  if (is_read_pending_ || is_input_ended_) return;
  is_read_pending_ = true;
  if (!reader_) {
    std::vector<char>().swap(
        read_space_);  // it watches for the client's leaving, perhaps for hours
  } else if (read_space_.empty()) {
    read_space_.resize(kSmallReadBytes);
  }
  const std::span<char> space =
      read_space_.empty() ? std::span<char>(watch_space_) : std::span<char>(read_space_);
  stream_->read_some(boost::asio::buffer(space.data(), space.size()),
                     [self = shared_from_this()](boost::system::error_code error, std::size_t n) {
                       self->on_read(error, n);
                     });
}

void Connection::on_read(boost::system::error_code error, std::size_t n) {
  is_read_pending_ = false;
  if (error) {
    is_input_ended_ = true;
    on_client_gone();
  } else {
    const char* bytes = read_space_.empty() ? watch_space_.data() : read_space_.data();
    input_.append(bytes, n);
    if (n == read_space_.size()) read_space_.resize(kLargeReadBytes);
  }
  if (reader_) {
    wake_reader();
  } else if (request_ != nullptr && input().size() < kMaxInputBytes) {
    start_read();  // watch for the client's leaving
  }
}

void Connection::wake_reader() {
  read_deadline_ = SteadyTime::max();
  std::exchange(reader_, nullptr).resume();
}

void Connection::consume(std::size_t n) {
  n_input_consumed_ += n;
  if (n_input_consumed_ == input_.size()) {
    std::string().swap(input_);  // a stream may last for minutes behind one small request
    n_input_consumed_ = 0;
  } else if (n_input_consumed_ > kMaxInputBytes) {
    input_.erase(0, n_input_consumed_);
    n_input_consumed_ = 0;
  }
}

Task<Result<std::size_t>> Connection::read_body_some(std::span<char> out) {
  co_await resume_on(loop_);
  if (body_started_at_ == SteadyTime{}) body_started_at_ = now();
  for (;;) {
    if (has_whole_body()) co_return std::size_t{0};
    const auto step = parser_->parse_body(input(), out);
    consume(step.n_consumed);
    n_body_received_ += step.n_consumed;
    drop_parser_if_done();
    if (has_whole_body()) start_read();  // nobody else would watch for the client's leaving now
    if (step.n_written > 0) co_return step.n_written;
    if (has_whole_body()) co_return std::size_t{0};
    const bool is_stuck = step.n_consumed == 0 && input().size() >= kMaxInputBytes;
    if (parser_->error() || is_stuck) {
      must_close_ = true;
      co_return invalid_argument(is_stuck ? "a chunk header of the body is too long"
                                          : parser_->error()->message);
    }
    if (std::exchange(must_send_continue_, false)) {
      const auto sent = co_await write_all("HTTP/1.1 100 Continue\r\n\r\n");
      if (!sent) co_return sent.error();
      continue;  // bytes may have come meanwhile
    }
    const std::chrono::milliseconds earned(n_body_received_ * 1000 /
                                           std::max(1U, server_.options.min_body_bytes_per_s));
    const auto got = co_await more_input(body_started_at_ + server_.options.body_timeout + earned);
    if (got == Input::kData) continue;
    must_close_ = true;
    if (got == Input::kEnd) {
      co_return Error{Code::kCancelled, "the client left before the end of the request body"};
    }
    co_return Error{Code::kDeadlineExceeded, "the request body did not arrive in time"};
  }
}

bool Connection::skip_rest_of_body() {
  std::array<char, 4096> dropped;
  while (!has_whole_body() && !parser_->error()) {
    const auto step = parser_->parse_body(input(), dropped);
    if (step.n_consumed == 0) break;
    consume(step.n_consumed);
  }
  return has_whole_body();
}

// An answer may last for minutes behind a request that was read at once.
void Connection::drop_parser_if_done() {
  if (parser_ != nullptr && parser_->is_done()) parser_.reset();
}

// --- writing -----------------------------------------------------------------------------------

Task<Status> Connection::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    auto start = [this, bytes](IoHandler done) {
      stream_->write_some(boost::asio::buffer(bytes.data(), bytes.size()), std::move(done));
    };
    IoOp op(std::move(start));
    write_deadline_ = now() + server_.options.write_timeout;
    co_await op;
    write_deadline_ = SteadyTime::max();
    bytes.remove_prefix(op.n);
    if (!op.error) continue;
    must_close_ = true;
    if (is_write_timed_out_) {
      Error error{Code::kDeadlineExceeded, "the client did not read the answer in time"};
      if (request_ != nullptr) request_->cancel(error);
      co_return error;
    }
    on_client_gone();
    co_return Error{Code::kCancelled, "the client left"};
  }
  co_return Status();
}

// --- deadlines and stopping ----------------------------------------------------------------------

void Connection::check_deadlines(SteadyTime time) {
  if (time >= read_deadline_) {
    loop_.post([self = shared_from_this(), time] {
      if (!self->reader_ || time < self->read_deadline_) return;  // bytes came first
      self->is_read_timed_out_ = true;
      self->wake_reader();
    });
  }
  if (time >= write_deadline_) {
    write_deadline_ = SteadyTime::max();
    is_write_timed_out_ = true;
    stream_->reset();
  }
}

void Connection::close_if_idle() {
  if (is_idle_) stream_->close();
}

void Connection::stop_now() {
  must_close_ = true;
  if (request_ != nullptr) {
    request_->cancel(unavailable("the server is stopping"));
  }
  stream_->close();
}

void Connection::on_client_gone() {
  if (request_ == nullptr || is_answered_ || request_->cancel_token().stop_requested()) return;
  ++server_.n_clients_left;
  request_->cancel(Error{Code::kCancelled, "the client left"});
}

// --- the life of a connection --------------------------------------------------------------------

Task<void> Connection::run() {
  if (co_await handshake()) {
    while (!must_close_) {
      const bool has_request = co_await read_header();
      if (!has_request) break;
      co_await serve_request();
    }
    co_await linger();
  }
  stream_->close();
}

Task<void> Connection::refuse() {
  HttpError busy{503, "too many connections: try again in a few seconds"};
  co_await answer_error(busy);
  co_await linger();
  stream_->close();
}

Task<bool> Connection::handshake() {
  auto start = [this](IoHandler done) { stream_->handshake(std::move(done)); };
  IoOp op(std::move(start));
  write_deadline_ = now() + server_.options.header_timeout;
  co_await op;
  write_deadline_ = SteadyTime::max();
  if (op.error)
    server_.log->debug("TLS handshake with ", peer_.ip, " failed: ", op.error.message());
  co_return !op.error;
}

// Reads one request's header into parser_. False: the connection is to be closed.
Task<bool> Connection::read_header() {
  const auto& options = server_.options;
  const bool is_first = !std::exchange(has_had_request_, true);
  const RequestLimits limits{options.max_header_bytes, options.max_target_bytes};
  parser_ = std::make_unique<RequestParser>(limits);
  bool has_begun = !input().empty();
  auto deadline = now() + (is_first || has_begun ? options.header_timeout : options.idle_timeout);
  for (;;) {
    consume(parser_->parse_header(input()));
    if (parser_->error()) {
      ++server_.n_bad_requests;
      co_await answer_error(*parser_->error());
      co_return false;
    }
    if (parser_->is_header_done()) co_return true;
    if (server_.is_draining && !has_begun) co_return false;
    is_idle_ = !has_begun;
    const auto got = co_await more_input(deadline);
    is_idle_ = false;
    if (got == Input::kEnd) co_return false;
    if (got == Input::kTimeout) {
      if (has_begun) {
        ++server_.n_bad_requests;
        HttpError late{408, "the request header did not arrive in time"};
        co_await answer_error(late);
      }
      co_return false;
    }
    if (!has_begun) deadline = now() + options.header_timeout;
    has_begun = true;
  }
}

Task<void> Connection::serve_request() {
  ++server_.n_requests;
  ++server_.n_active_requests;
  Request request(loop_, std::make_unique<ConnectionBody>(*this));
  request.method = parser_->method;
  request.target = parser_->target;
  request.content_length = parser_->content_length_bytes();
  must_send_continue_ = parser_->expects_continue() && !parser_->is_done() && input().empty();
  request.headers = std::move(parser_->headers);  // the parser is done with them
  request.peer_ip = peer_.ip;
  request.peer_port = peer_.port;
  request.is_loopback = peer_.is_loopback;
  request.is_tls = stream_->tls() != nullptr;
  request.max_body_bytes = server_.options.max_body_bytes;
  message_ = {.is_http_1_1 = parser_->is_http_1_1(), .keeps_alive = parser_->keeps_alive()};
  drop_parser_if_done();
  ConnectionWriter writer(*this, request);
  is_answered_ = false;
  body_started_at_ = SteadyTime{};
  n_body_received_ = 0;

  request_ = &request;
  if (is_input_ended_) {
    on_client_gone();
  } else {
    start_read();
  }
  try {
    co_await server_.router.dispatch(request, writer);
  } catch (const std::exception& exception) {
    server_.log->error("handler of ", request.method, " ", request.target,
                       " threw: ", exception.what());
  } catch (...) {
    server_.log->error("handler of ", request.method, " ", request.target,
                       " threw what is no exception");
  }
  co_await resume_on(loop_);
  if (!writer.is_started() && !request.cancel_token().stop_requested()) {
    co_await answer_missing_answer(writer);
  }
  writer.settle();
  request_ = nullptr;
  if (!has_whole_body()) must_close_ = true;  // the next request begins where this body ends
  --server_.n_active_requests;
}

Task<void> Connection::answer_missing_answer(ResponseWriter& writer) {
  auto response = server_.router.error_response(500, "the handler ended without an answer");
  co_await writer.send(std::move(response));
}

// Answers what never reached a handler, then lets the connection close.
Task<void> Connection::answer_error(const HttpError& error) {
  Request request(loop_, nullptr);
  request.method = parser_ == nullptr ? "" : parser_->method;
  message_ = {};
  if (parser_ != nullptr) message_.is_http_1_1 = parser_->is_http_1_1();
  must_close_ = true;
  ConnectionWriter writer(*this, request);
  auto response = server_.router.error_response(error.status, error.message);
  if (error.status == 503) response.headers.set("Retry-After", "2");
  co_await writer.send(std::move(response));
}

// Closing while the client still sends would make the kernel send RST, which can destroy the answer
// before the client has read it. So: end our side, read on for a moment, close then.
Task<void> Connection::linger() {
  if (must_reset_) stream_->reset();
  if (is_input_ended_ || must_reset_) co_return;
  stream_->shutdown_write([self = shared_from_this()](boost::system::error_code, std::size_t) {});
  const auto deadline = now() + kLingerTime;
  for (std::size_t n_dropped = 0; n_dropped < kMaxLingerBytes;) {
    n_dropped += input().size();
    consume(input().size());
    const auto got = co_await more_input(deadline);
    if (got != Input::kData) break;
  }
}

}  // namespace deepwell::net
