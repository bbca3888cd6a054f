// How an answer reaches a client of /v1/chat/completions: as one JSON document or as server-sent
// events.
#pragma once

#include <memory>

#include "edge/api/http/api.hpp"
#include "service/dialogue/answer.hpp"

namespace deepwell::edge {

/// Receives an answer in order. A failed Status means that the client is gone or does not read.
class ChatSink {
 public:
  virtual ~ChatSink() = default;
  virtual Task<Status> write(const service::AnswerDelta& delta) = 0;
  /// Nothing came for a while: keeps proxies from closing the connection.
  virtual Task<Status> ping() = 0;
  virtual Task<Status> finish(const service::Usage& usage) = 0;
  /// The answer ended before its end, and the client is told so.
  virtual Task<void> fail(Error error) = 0;
};

/// `answer` must outlive the sink.
std::unique_ptr<ChatSink> make_json_sink(const service::Answer& answer, Api& api,
                                         net::Request& request, net::ResponseWriter& writer);
/// Sends what lies behind the cursor.
std::unique_ptr<ChatSink> make_sse_sink(const service::Answer& answer, service::Cursor from,
                                        Api& api, net::Request& request,
                                        net::ResponseWriter& writer);

}  // namespace deepwell::edge
