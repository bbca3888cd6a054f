// Dialogue: one turn, from messages to the text of an answer: render, encode, generate, decode,
// split, stop.
//
//   auto answer = co_await dialogue.start(std::move(turn), std::move(ask), principal, home);
//   while (!(*answer)->is_finished()) {
//     auto deltas = co_await (*answer)->next(deadline, cancel);
//     ...
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/executor.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/task.hpp"
#include "engine/runtime/generator.hpp"
#include "service/auth/key_ring.hpp"
#include "service/auth/principal.hpp"
#include "service/dialogue/answer.hpp"
#include "service/dialogue/queue_gate.hpp"
#include "service/dialogue/turn.hpp"
#include "service/store/store.hpp"

namespace deepwell::service {

/// What is asked about an answer beside its turn.
struct Ask {
  std::string id;     // "chatcmpl-...", drawn by the caller
  std::string model;  // the name it was asked for by
  bool is_streamed = false;
  bool use_usage_chunk = false;
  bool use_service_tier = false;  // the answer says at which priority it was given
  std::string idempotency_key;    // empty: none
  std::string request_hash;       // with a key: of the whole request
};

/// What an answer came to, whoever read it.
struct AnswerSummary {
  std::string tenant;
  Usage usage;
  bool is_continued = false;
};

struct DialogueOptions {
  std::string front_id;  // names this server in the journal; empty: one is drawn
  std::vector<std::string> dead_fronts;
  std::chrono::milliseconds reattach_grace{10'000};
  // How long others leave answers alone whose server says nothing.
  std::chrono::milliseconds lease{30'000};
  bool survives_process = false;  // what the journal holds is there after this process
  QueueLimits queue;
  TenantWeights tenant_weights;
  // While nobody waits, computes what conversations' next turns will begin with (TurnCache).
  bool use_turn_cache = false;
  /// Called once for each answer that ended, before any reader learns of it.
  std::function<void(const AnswerSummary&)> on_end;
};

struct DialogueStats {
  std::uint32_t n_live = 0;     // answers, now
  std::uint32_t n_readers = 0;  // now
  std::uint64_t n_attached = 0;
  std::uint64_t n_taken_over = 0;
  std::uint64_t n_abandoned = 0;
  std::uint64_t n_turns_prepared = 0;     // by the turn cache
  std::uint64_t n_turns_interrupted = 0;  // that gave way to real work
};

/// Thread-safe. The generator, the pool and the store must outlive it.
class Dialogue {
 public:
  /// Closes the book: what the journal has and cannot end here may go on elsewhere.
  virtual ~Dialogue() = default;

  /// Takes over what dead servers left in the store. Error: the model's chat template cannot be
  /// parsed. Warns if it has none.
  static Result<std::unique_ptr<Dialogue>> create(engine::Generator& generator, Executor& pool,
                                                  Store& store, Log& log,
                                                  DialogueOptions options = {});

  /// Renders and encodes on the pool, queues the generation and journals the answer; continues on
  /// `home`. With an idempotency key whose answer is there already, reads that one. Errors, the first
  /// three before any work is done: kUnavailable with reason queue_full, kResourceExhausted with
  /// reason tenant_queue_full, kInvalidArgument with reason idempotency_key_reused;
  /// kInvalidArgument (the template refuses the messages, a bias outside the vocabulary),
  /// kOutOfRange with reason context_length_exceeded.
  virtual Task<Result<std::unique_ptr<Answer>>> start(Turn turn, Ask ask, Principal principal,
                                                      Executor& home) = 0;

  /// Another reader of an answer, live or ended, from a cursor on; `cursor_of` is asked for it once
  /// the number of choices is known. Errors: kNotFound (no such answer, or not this principal's),
  /// kUnavailable (it runs on another server), those of `cursor_of`.
  using CursorOf = std::function<Result<Cursor>(std::uint32_t n_choices)>;
  virtual Task<Result<std::unique_ptr<Answer>>> attach(std::string id, CursorOf cursor_of,
                                                       Principal principal, Executor& home) = 0;

  /// Tells every reader to leave with this error; answers go on.
  virtual void interrupt(const Error& error) = 0;

  virtual Congestion congestion() const = 0;
  virtual DialogueStats stats() const = 0;
};

}  // namespace deepwell::service
