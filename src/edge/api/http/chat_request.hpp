// The body of POST /v1/chat/completions, decoded into a dialogue turn.
// Reference: https://platform.openai.com/docs/api-reference/chat/create
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "service/dialogue/turn.hpp"

namespace deepwell::edge {

struct ChatRequest {
  std::string model;  // empty: whatever is served
  bool is_stream = false;
  bool use_usage_chunk = false;   // stream_options.include_usage
  bool use_service_tier = false;  // service_tier was asked for: the answer says which it got
  service::Turn turn;
};

/// Unknown fields are ignored; a known field of a wrong type or out of range is an error that names
/// its path; a field that asks for what this server cannot do is refused, never dropped. Errors:
/// kInvalidArgument, kUnimplemented.
Result<ChatRequest> decode_chat_request(std::string_view body);

}  // namespace deepwell::edge
