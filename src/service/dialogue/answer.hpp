// Answer: one reader's way through an answer, and what it reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/task.hpp"
#include "engine/runtime/generator.hpp"
#include "service/dialogue/queue_gate.hpp"

namespace deepwell::service {

/// What a turn cost, over all its choices.
struct Usage {
  std::uint64_t n_prompt_tok = 0;
  std::uint64_t n_cached_tok = 0;     // of the prompt: needed no computing
  std::uint64_t n_generated_tok = 0;  // thoughts included
  std::uint64_t n_reasoning_tok = 0;

  bool operator==(const Usage&) const = default;
};

/// What every chunk and document of one answer repeats.
struct AnswerInfo {
  std::string id;  // "chatcmpl-..."
  std::string model;
  std::string fingerprint;
  std::int64_t created_unix_s = 0;
  std::uint64_t seed = 0;  // of the first choice: the same request with it gives the same tokens
  std::uint32_t n_choices = 1;
  bool use_usage_chunk = false;
  bool use_service_tier = false;
  engine::Priority priority = engine::Priority::kNormal;
};

/// How far a reader has come in one choice.
struct ChoiceCursor {
  std::uint32_t n_tok = 0;    // tokens whose text it has
  bool has_begun = false;     // it knows that there is this choice
  bool has_finished = false;  // it has the choice's end

  bool operator==(const ChoiceCursor&) const = default;
};

/// How far a reader has come. What follows a cursor depends on the tokens alone, never on how they
/// were cut into deltas.
struct Cursor {
  std::vector<ChoiceCursor> choices;
  bool has_usage = false;

  bool operator==(const Cursor&) const = default;
};

/// A cursor before everything.
inline Cursor cursor_at_start(std::uint32_t n_choices) {
  return {.choices = std::vector<ChoiceCursor>(n_choices)};
}

/// New text of one choice, or its end. A thought comes whole before the answer's text.
struct AnswerDelta {
  std::uint32_t choice = 0;
  std::string reasoning;
  std::string content;
  // Set in the choice's last delta, which has only text that was held back until then.
  engine::FinishReason finish = engine::FinishReason::kNone;
  std::uint32_t n_tok = 0;     // tokens behind this delta, also where they gave no text yet
  std::uint32_t position = 0;  // tokens of the choice up to here, these included
  SteadyTime at;               // when the last of them came
};

/// A turn being answered, as one reader sees it: a cursor over the token logs of its choices. Used
/// by one coroutine at a time. An answer lives without readers for a grace, then stops.
class Answer {
 public:
  virtual ~Answer() = default;

  virtual const AnswerInfo& info() const = 0;

  /// What is new; waits for something. Nothing is given before the journal has the answer, or is
  /// known not to take it. Errors: kDeadlineExceeded (nothing until `deadline`: the moment for a
  /// heartbeat, ask again), kCancelled (the token), kInvalidArgument (the cursor lies beyond the
  /// end), and what ended the answer before its end.
  virtual Task<Result<std::vector<AnswerDelta>>> next(SteadyTime deadline, CancelToken cancel) = 0;

  /// The end of every choice was given.
  virtual bool is_finished() const = 0;
  /// Of what was generated so far, whoever read it.
  virtual Usage usage() const = 0;
  /// Its place in the queue and an estimate of its wait; none once it is being computed.
  virtual std::optional<Congestion> waiting() const = 0;
  /// The journal has decided about it: bytes may be sent.
  virtual bool is_decided() const = 0;
  /// The journal has it: its stream can be read again after this connection.
  virtual bool is_resumable() const = 0;
  /// Known tokens came out differently when the answer moved: a continuation, not the same answer.
  virtual bool is_continued() const = 0;

  /// Ends the answer for every reader.
  virtual void stop() = 0;
};

}  // namespace deepwell::service
