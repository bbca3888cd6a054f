// ResponseWriter: how a handler answers, at once or as a stream; and the formatting of server-sent
// events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/task.hpp"
#include "net/headers.hpp"

namespace deepwell::net {

/// A whole answer. Content-Length, Transfer-Encoding, Date and Connection are the server's
/// business.
struct Response {
  int status = 200;
  Headers headers;
  std::string body;
};

/// A response with a Content-Type.
Response make_response(int status, std::string_view content_type, std::string body);

/// Exactly one of: one send(); or start(), any number of write(), then finish() or abort(). A
/// handler that returns without answering yields a 500; one that returns within a stream without
/// finish(), or throws there, aborts it: the client sees the connection break, never a clean end.
/// Used by one coroutine at a time. Every awaited member continues on the request's executor.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  /// Headers added to whatever is answered later (request id, CORS); set by middleware before
  /// calling `next`.
  Headers extra_headers;

  /// Sends a whole answer. Errors: kCancelled (the client is gone), kDeadlineExceeded (it does not
  /// read), kFailedPrecondition (already answered).
  virtual Task<Status> send(Response response) = 0;

  /// Sends status and headers of a stream, whose length is unknown (chunked; HTTP/1.0: until
  /// close).
  virtual Task<Status> start(int status, Headers headers) = 0;
  /// Sends one piece; ends when the kernel has taken it, which is the back-pressure. `chunk` must
  /// live until then. Same errors as send(). An empty chunk sends nothing.
  virtual Task<Status> write(std::string_view chunk) = 0;
  /// Ends the stream as whole.
  virtual Task<Status> finish() = 0;
  /// Ends the stream as broken: the connection closes without the last chunk.
  virtual void abort() = 0;

  /// For metrics and barriers: 0 until answered.
  int status() const { return status_; }
  bool is_started() const { return status_ != 0; }
  /// send() or finish() was called.
  bool is_finished() const { return is_finished_; }
  std::uint64_t n_body_bytes() const { return n_body_bytes_; }

 protected:
  int status_ = 0;
  bool is_finished_ = false;
  std::uint64_t n_body_bytes_ = 0;
};

/// Headers of a server-sent event stream (no caching, no proxy buffering).
Headers sse_headers();

/// One event (https://html.spec.whatwg.org/multipage/server-sent-events.html): `data` may have
/// several lines (LF, CRLF or CR) and each gets its own field, so no text can forge a field. Line
/// breaks within `event` and `id` are dropped.
std::string sse_event(std::string_view data, std::string_view event = {}, std::string_view id = {});
/// A comment line, which clients ignore: a heartbeat. No empty line follows: once they know an id, OpenAI's Python
/// clients take that for an event without data, and fail.
std::string sse_comment(std::string_view text);

}  // namespace deepwell::net
