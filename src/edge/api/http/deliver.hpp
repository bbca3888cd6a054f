// Bringing an answer to a client: the loop that endpoints share.
#pragma once

#include <optional>
#include <vector>

#include "edge/api/http/api.hpp"
#include "edge/api/http/chat_sink.hpp"

namespace deepwell::edge {

/// Times between tokens, as the engine gave them: a slow client does not change them.
class Pace {
 public:
  /// `start`: when the request came.
  Pace(Metrics& metrics, SteadyTime start, std::uint32_t n_choices)
      : metrics_(metrics), start_(start), last_(n_choices) {}

  void note(const service::AnswerDelta& delta);

 private:
  Metrics& metrics_;
  const SteadyTime start_;
  std::vector<std::optional<SteadyTime>> last_;
};

/// Brings the answer to the sink until it ends, fails, or nobody listens. `pace` may be null.
Task<void> deliver(Api& api, net::Request& request, service::Answer& answer, ChatSink& sink,
                   Pace* pace);

}  // namespace deepwell::edge
