// Generator: tokens in, tokens out. Everything above it cannot tell an engine in this process from one elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/sampling/params.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {

/// What a front needs to know of a model to serve it without the model file.
struct ModelDescription {
  std::string name;  // what the user calls it, for example "qwen2.5-coder:0.5b"
  std::string
      fingerprint;  // of weights, numerics version and device family; `system_fingerprint` in the API
  std::string architecture;   // "qwen2"
  std::string chat_template;  // Jinja source out of the model file; empty if it has none
  std::uint64_t n_params = 0;
  std::uint64_t file_bytes = 0;
  std::uint32_t n_vocab = 0;
  std::uint32_t n_ctx_train_tok = 0;  // the longest context that the model was trained for
  std::uint32_t n_ctx_tok = 0;        // prompt + answer tokens that one sequence may hold here
  // Null in an engine that only gives fronts what they make theirs from (EngineOptions::keeps_tokenizer). Owners: this
  // description's copies.
  std::shared_ptr<const Tokenizer> tokenizer;
};

enum class FinishReason : std::uint8_t {
  kNone,    // still running
  kStop,    // the model ended its answer with an end-of-generation token
  kLength,  // max_tokens or the context is used up
};

/// Who goes first among those that wait. Whoever waited long rises, and some turns are kept for the lower ones.
enum class Priority : std::uint8_t {
  kBackground,  // only while nobody else wants the engine; gives way at once
  kLow,
  kNormal,
  kHigh,
};
inline constexpr std::size_t kNumPriorities = 4;

/// One prompt and how to continue it. Prompt ids and generated ids stay separate: penalties count generated ids.
struct GenerateRequest {
  std::vector<TokenId> prompt;  // must not be empty
  std::vector<TokenId>
      generated;  // ids that an earlier attempt already chose: the answer goes on after them
  SamplingParams sampling;
  std::uint32_t max_tokens =
      0;                    // generated ids at most; 0 only computes the prompt (warms the cache)
  bool ignore_end = false;  // go on past end-of-generation tokens (benchmarks)
  std::string tenant;       // whose cache and whose share of the machine
  std::uint32_t tenant_weight = 1;  // how large that share is beside others'; at least 1
  Priority priority = Priority::kNormal;
  // The caller's own name for this attempt's generation: unique among all that live, never 0. It is
  // what the crash page names, and by what a restarted caller finds a generation that went on.
  std::uint64_t tag = 0;
  // Of `generated`, so many of the last are chosen anew and compared: the proof that an answer that
  // moved is the same answer. Forced ids must not be among them.
  std::uint32_t n_verify_tok = 0;
};

/// News of one generation. Positions count generated tokens from 0, so a receiver can tell a repeat or a gap.
struct GenerationEvent {
  std::uint32_t position = 0;  // of ids[0]
  std::vector<TokenId> ids;    // new tokens, end-of-generation token excluded
  FinishReason finish = FinishReason::kNone;
  std::optional<Error> error;           // the generation ended without finishing
  std::uint32_t n_prompt_tok_done = 0;  // prompt tokens computed so far (progress)
  std::uint32_t n_cached_tok = 0;       // prompt tokens that needed no computing
  // Known ids (GenerateRequest::n_verify_tok) that were chosen differently this time, since the last
  // event: any but 0 means that what follows is a continuation and not the same answer.
  std::uint32_t n_mismatched_tok = 0;

  bool is_last() const { return finish != FinishReason::kNone || error.has_value(); }
};

/// Receives a generation's events, in order, on the engine's thread: it must return at once and must not throw.
/// After the event with is_last() it is never called again.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void on_event(GenerationEvent event) = 0;
};

using GenerationId = std::uint64_t;

/// What health and metrics read; filled from counters that are published, never by asking the engine's thread.
struct GeneratorStatus {
  std::uint32_t n_running = 0;
  std::uint32_t n_waiting = 0;
  std::uint32_t n_kv_blocks_used = 0;
  std::uint32_t n_kv_blocks = 0;
  std::uint64_t n_steps = 0;
  std::uint64_t n_prompt_tok = 0;       // known tokens computed since start: of prompts, and of
                                        // answers that came back to go on
  std::uint64_t n_generated_tok = 0;    // since start
  std::uint64_t n_preempted = 0;        // since start: running ones that had to wait again
  std::uint64_t n_draft_tok = 0;        // since start: tokens that were guessed ahead
  std::uint64_t n_right_draft_tok = 0;  // of them, those that were chosen
  std::uint64_t n_blocks_saved = 0;     // since start: K/V blocks written to disk
  std::uint64_t n_blocks_loaded = 0;  // since start: K/V blocks read from there instead of computed
  std::uint64_t n_blocks_refused = 0;  // since start: those that were not what had been saved
  std::uint64_t kv_disk_bytes = 0;     // of all K/V blocks there
  std::uint64_t n_layers_done = 0;     // the progress counter: grows while the engine computes
  std::int64_t last_step_age_ms = 0;   // since the last step ended; meaningful while n_running > 0
};

/// Thread-safe. Calls return at once; results arrive at the sink.
class Generator {
 public:
  virtual ~Generator() = default;

  virtual const ModelDescription& describe() const = 0;

  /// Queues a request. Errors: kInvalidArgument (empty prompt, an id outside the vocabulary), kOutOfRange (prompt
  /// longer than the context: the message has both numbers), kResourceExhausted (queue full).
  virtual Result<GenerationId> submit(GenerateRequest request,
                                      std::shared_ptr<GenerationSink> sink) = 0;

  /// Ends a generation soon, in prefill too; no event follows once the engine has seen it. Unknown ids are ignored.
  virtual void cancel(GenerationId id) = 0;

  /// Appends ids to a running generation as if the model had chosen them (a closed thought, a tool's result).
  virtual Status force(GenerationId id, std::vector<TokenId> ids) = 0;

  /// Replaces a running generation's sink; the new one first gets what was generated from position `from` on.
  virtual Status attach(GenerationId id, std::uint32_t from,
                        std::shared_ptr<GenerationSink> sink) = 0;

  virtual GeneratorStatus status() const = 0;
};

}  // namespace deepwell::engine
