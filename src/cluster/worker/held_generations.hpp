// HeldGenerations: what a worker computes for its fronts, kept until they say that they have it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/executor.hpp"
#include "cluster/protocol/convert.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

/// A front's stream, as long as it lasts. 0 names none.
using SessionId = std::uint64_t;

/// Sits between a Generator and the streams of fronts. Tokens are kept here from the first on, so a
/// stream sends what it has not sent yet whenever it can, and a front that comes back can begin anew.
/// Thread-safe; `on_news` is called on the engine's thread and must return at once.
class HeldGenerations {
 public:
  HeldGenerations(engine::Generator& generator, std::function<void()> on_news);
  /// Cancels everything.
  ~HeldGenerations();
  HeldGenerations(const HeldGenerations&) = delete;
  HeldGenerations& operator=(const HeldGenerations&) = delete;

  /// A front has come; its generations outlive its stream by `orphan_grace`.
  SessionId open_session(std::chrono::milliseconds orphan_grace);
  /// Its generations become orphans: they go on until the grace is over.
  void close_session(SessionId session);
  std::vector<std::uint64_t> orphans() const;

  /// Begins attempt `epoch` of request.tag, or takes over the running one: then the session gets what
  /// follows request.generated. An epoch that is not newer is ignored: it came late. A refusal reaches
  /// the session as an event.
  void submit(SessionId session, engine::GenerateRequest request, std::uint64_t epoch);
  /// Ends and forgets attempts up to `epoch`.
  void cancel(std::uint64_t tag, std::uint64_t epoch);
  void force(std::uint64_t tag, std::uint64_t epoch, std::vector<engine::TokenId> ids);

  /// Moves what the session has not been sent into `frame`. False if there was nothing.
  bool collect(SessionId session, proto::WorkerFrame& frame);
  /// Ends orphans whose grace is over.
  void expire(SteadyTime now);
  std::size_t n_held() const;

 private:
  struct Held {
    std::uint64_t tag = 0;
    std::uint64_t epoch = 0;
    engine::GenerationId id = 0;  // 0: refused, or not submitted yet
    SessionId session = 0;        // 0: an orphan
    SteadyTime orphan_until = SteadyTime::max();
    std::uint64_t attempt = 0;         // of this worker: tells a replaced attempt's last words
    std::vector<engine::TokenId> ids;  // from position 0, those generated elsewhere included
    std::size_t n_sent = 0;            // of ids, or known to the front when it submitted
    engine::GenerationEvent last;      // the newest event without its ids: finish, error, counts
    std::uint32_t n_mismatched_tok = 0;
    bool is_dirty = false;  // listed in its session's news
  };
  struct Taken {
    std::uint64_t tag = 0;
    std::uint64_t epoch = 0;
    std::size_t n_tok = 0;
  };
  struct Session {
    std::chrono::milliseconds orphan_grace{};
    std::vector<std::uint64_t> news;  // tags with something unsent
    std::vector<Taken> taken;         // what another front has taken over
  };
  struct Gate;
  class Sink;

  void on_event(std::uint64_t tag, std::uint64_t attempt, engine::GenerationEvent event);
  void note_news(Held& held);
  void disown(const Held& held);
  bool take_over(SessionId session, const engine::GenerateRequest& request, std::uint64_t epoch);
  void write_news(Held& held, proto::WorkerFrame& frame, Session& session);

  engine::Generator& generator_;
  const std::function<void()> on_news_;
  const std::shared_ptr<Gate> gate_;  // owners: this and the sinks
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, Held> held_;  // by tag
  std::unordered_map<SessionId, Session> sessions_;
  SessionId last_session_ = 0;
  std::uint64_t last_attempt_ = 0;
};

}  // namespace deepwell::cluster
