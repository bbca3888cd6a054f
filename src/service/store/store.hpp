// Store: the journal of answers. What an answer needs to go on after its server died, and what it
// came to.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/async_queue.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/task.hpp"
#include "base/unique_function.hpp"
#include "engine/tokenizer/token_id.hpp"

namespace deepwell::service {

/// What a committed record survives.
enum class Durability : std::uint8_t {
  kProcess,  // the death of this process (kill -9)
  kMachine,  // a power cut: each group of records waits for the disk
};

enum class StreamState : std::uint8_t {
  kRunning = 0,
  kFinished = 1,
  kFailed = 2,     // its outcome says why
  kAbandoned = 3,  // nobody read it any more, or it was stopped
};

/// One answer, called a stream after the address where it is read. Written once at its admission;
/// only the fields from `state` on change, each change guarded by `epoch`.
struct StreamRecord {
  std::string id;      // "chatcmpl-..."
  std::string tenant;  // of the principal who asked
  std::string owner;   // its subject
  std::string model;   // the name it was asked for by
  std::string fingerprint;
  std::int64_t created_unix_s = 0;
  std::string idempotency_key;  // unique within a tenant; empty: none
  std::string request_hash;     // what a repeated key must match
  std::vector<engine::TokenId> prompt;
  std::string plan;  // everything else from which the answer follows: see dialogue/plan.hpp

  StreamState state = StreamState::kRunning;
  std::string owner_front;          // who runs it
  std::int64_t lease_until_ms = 0;  // wall clock; past it anybody may claim the stream
  std::uint64_t epoch = 0;          // grows by one with each change of hands
  std::int64_t ended_unix_ms = 0;   // 0 while it runs
  std::string outcome;              // tokens, finish reasons, usage, error: see dialogue/plan.hpp

  bool operator==(const StreamRecord&) const = default;
};

/// How a stream ended. It is taken only from whom the journal still says that it runs there.
struct StreamEnd {
  std::string id;
  std::string front;
  std::uint64_t epoch = 0;
  StreamState state = StreamState::kFinished;
  std::string outcome;
};

/// Who takes over what.
struct Claim {
  std::string front;  // the new owner
  std::vector<std::string> dead_fronts;
  std::int64_t lease_until_ms = 0;
  std::string only_id;  // empty: every stream whose owner is dead or whose lease has run out
};

struct StoreHealth {
  bool is_degraded = false;
  std::string reason;  // "disk full: ..."
};

/// Called once with a result, on a thread of the store: it must return at once.
template <class T>
using StoreDone = UniqueFunction<void(Result<T>)>;

/// Thread-safe. Calls return at once; what they change is on record when `done` says so, and calls
/// take effect in their order. Errors of every call: kUnavailable (disk full, I/O error; nothing was
/// written, and health() says so too).
class Store {
 public:
  /// Waits until every call has been answered.
  virtual ~Store() = default;

  /// Writes a new running stream. Errors: kAlreadyExists (its id, or its tenant's idempotency key),
  /// kResourceExhausted (running streams alone fill the journal).
  virtual void admit(StreamRecord record, StoreDone<void> done) = 0;
  /// Writes an end. Error: kAborted (the stream is not this front's any more).
  virtual void end(StreamEnd end, StoreDone<void> done) = 0;

  /// Errors: kNotFound.
  virtual void find(std::string id, StoreDone<StreamRecord> done) = 0;
  virtual void find_by_key(std::string tenant, std::string key, StoreDone<StreamRecord> done) = 0;

  /// Makes running streams the claimer's, and gives them as they are now. No stream is given to two
  /// claimers.
  virtual void claim(Claim claim, StoreDone<std::vector<StreamRecord>> done) = 0;
  /// Makes a failed or abandoned stream of this epoch run again. Error: kAborted (it has changed).
  virtual void revive(std::string id, std::uint64_t epoch, std::string front,
                      std::int64_t lease_until_ms, StoreDone<StreamRecord> done) = 0;
  /// Moves the leases of all that a front runs; 0 lets them go.
  virtual void renew(std::string front, std::int64_t lease_until_ms, StoreDone<void> done) = 0;

  /// Deletes ended streams past their retention now; happens by itself every few seconds.
  virtual void sweep(StoreDone<void> done) = 0;

  virtual StoreHealth health() const = 0;
};

/// Awaits a call of the store: `start` is given the callback to pass on. Continues on `home`.
template <class T, class Start>
Task<Result<T>> await_store(Executor& home, Start start) {
  auto queue = std::make_shared<AsyncQueue<Result<T>>>(home);
  start(StoreDone<T>([queue](Result<T> result) { queue->push(std::move(result)); }));
  CancelToken never;
  Result<Result<T>> result = co_await queue->pop(std::move(never));
  if (!result) co_return std::move(result).error();
  co_return std::move(*result);
}

}  // namespace deepwell::service
