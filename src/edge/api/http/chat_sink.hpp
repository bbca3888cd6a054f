// How an answer reaches a client of /v1/chat/completions: as one JSON document or as server-sent
// events.
#pragma once

#include <memory>
#include <string>

#include "edge/api/http/api.hpp"
#include "service/dialogue/dialogue.hpp"

namespace deepwell::edge {

/// What every chunk and document of one answer repeats.
struct ChatHead {
  std::string id;  // "chatcmpl-..."
  std::string model;
  std::string fingerprint;
  std::int64_t created_unix_s = 0;
  std::uint64_t seed = 0;
  std::uint32_t n_choices = 1;
  bool use_usage_chunk = false;
};

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

std::unique_ptr<ChatSink> make_json_sink(ChatHead head, Api& api, net::Request& request,
                                         net::ResponseWriter& writer);
std::unique_ptr<ChatSink> make_sse_sink(ChatHead head, net::Request& request,
                                        net::ResponseWriter& writer);

}  // namespace deepwell::edge
