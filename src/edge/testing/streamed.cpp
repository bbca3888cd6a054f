// Reading an event stream and checking its shape.
#include "edge/testing/streamed.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace deepwell::edge::testing {

using nlohmann::json;

namespace {

void read_choice(const json& choice, bool is_first, Streamed& out) {
  const json& delta = choice["delta"];
  if (is_first) {
    EXPECT_EQ(delta["role"], "assistant");
  }
  if (delta.contains("reasoning_content")) {
    EXPECT_EQ(out.content, "") << "a thought after the answer began";
    out.reasoning += delta["reasoning_content"];
  }
  if (delta.contains("content")) out.content += delta["content"];
  if (!choice["finish_reason"].is_null()) out.finish = choice["finish_reason"];
}

Streamed read_events(const Reply& reply, bool is_first) {
  Streamed out;
  for (const SseEvent& event : parse_events(reply.body)) {
    EXPECT_FALSE(out.is_done) << "an event after [DONE]";
    if (event.data == "[DONE]") {
      out.is_done = true;
      continue;
    }
    const json chunk = json::parse(event.data);
    if (event.event == "error") {
      out.error_type = chunk["error"]["type"];
      out.error_code = chunk["error"]["code"];
      continue;
    }
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    if (chunk.contains("usage") && !chunk["usage"].is_null()) {
      out.n_completion_tok = chunk["usage"]["completion_tokens"];
    }
    for (const json& choice : chunk["choices"]) {
      read_choice(choice, is_first, out);
      is_first = false;
    }
  }
  return out;
}

}  // namespace

Streamed read_stream(const Reply& reply) { return read_events(reply, true); }
Streamed read_stream_rest(const Reply& reply) { return read_events(reply, false); }

}  // namespace deepwell::edge::testing
