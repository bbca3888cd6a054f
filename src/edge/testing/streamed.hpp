// Streamed: what an event stream of /v1/chat/completions said, put together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "edge/testing/test_client.hpp"

namespace deepwell::edge::testing {

struct Streamed {
  std::string reasoning;
  std::string content;
  std::string finish;
  std::optional<std::uint64_t> n_completion_tok;  // of the usage chunk, if one came
  bool is_done = false;                           // [DONE] came
  std::string error_type;                         // of an error event; empty if none came
  std::string error_code;
};

/// Fails the test where the stream breaks its own rules: a role first, thoughts before content, nothing after [DONE].
Streamed read_stream(const Reply& reply);
/// As above, of a stream that was taken up behind its first event.
Streamed read_stream_rest(const Reply& reply);

}  // namespace deepwell::edge::testing
