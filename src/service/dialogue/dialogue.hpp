// Dialogue: one turn, from messages to the text of an answer: render, encode, generate, decode,
// split, stop.
//
//   auto answer = co_await dialogue.start(std::move(turn), principal, home);
//   while (!(*answer)->is_finished()) {
//     auto deltas = co_await (*answer)->next(deadline, cancel);
//     ...
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/task.hpp"
#include "engine/runtime/generator.hpp"
#include "service/auth/principal.hpp"
#include "service/dialogue/turn.hpp"

namespace deepwell::service {

/// What a turn cost, over all its choices.
struct Usage {
  std::uint64_t n_prompt_tok = 0;
  std::uint64_t n_cached_tok = 0;     // of the prompt: needed no computing
  std::uint64_t n_generated_tok = 0;  // thoughts included
  std::uint64_t n_reasoning_tok = 0;
};

/// New text of one choice. A thought comes whole before the answer's text.
struct AnswerDelta {
  std::uint32_t choice = 0;
  std::string reasoning;
  std::string content;
  engine::FinishReason finish = engine::FinishReason::kNone;  // set in the choice's last delta
  std::uint32_t n_tok = 0;  // tokens behind this delta, also where they gave no text yet
  SteadyTime at;            // when the last of them came
};

/// A turn being answered: a cursor over the token logs of its choices. Used by one coroutine at a
/// time. Its destructor cancels what still runs, so a client that leaves stops its computation.
class Answer {
 public:
  virtual ~Answer() = default;

  /// What is new, at most one delta per choice; waits for something. Errors: kDeadlineExceeded
  /// (nothing until `deadline`: the moment for a heartbeat, ask again), kCancelled, and what ended
  /// the generation.
  virtual Task<Result<std::vector<AnswerDelta>>> next(SteadyTime deadline, CancelToken cancel) = 0;

  /// Every choice has ended by itself.
  virtual bool is_finished() const = 0;
  virtual Usage usage() const = 0;
  /// What the first choice was drawn with: the same request with this seed gives the same tokens.
  virtual std::uint64_t seed() const = 0;
};

/// Thread-safe. The generator and the pool must outlive it.
class Dialogue {
 public:
  virtual ~Dialogue() = default;

  /// Error: the model's chat template cannot be parsed. Warns if it has none.
  static Result<std::unique_ptr<Dialogue>> create(engine::Generator& generator, Executor& pool,
                                                  Log& log);

  /// Renders and encodes on the pool, then queues the generation; continues on `home`. Errors:
  /// kInvalidArgument (the template refuses the messages, a bias outside the vocabulary),
  /// kOutOfRange with reason context_length_exceeded, kResourceExhausted (queue full).
  virtual Task<Result<std::unique_ptr<Answer>>> start(Turn turn, Principal principal,
                                                      Executor& home) = 0;
};

}  // namespace deepwell::service
