// AnswerBook: the answers that run here, and their journal.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/log.hpp"
#include "base/task.hpp"
#include "service/auth/key_ring.hpp"
#include "service/dialogue/live_answer.hpp"
#include "service/store/store.hpp"

namespace deepwell::service {

struct AnswerBookOptions {
  std::string front_id;
  std::vector<std::string> dead_fronts;
  std::chrono::milliseconds reattach_grace{10'000};
  std::chrono::milliseconds lease{30'000};
  bool survives_process = false;    // what the store holds is there after this process
  std::shared_ptr<QueueGate> gate;  // owners: the dialogue, tickets, and this
  TenantWeights tenant_weights;
  /// Called once for each answer that ended, before any reader learns of it.
  std::function<void(const LiveAnswer&)> on_end;
};

/// Since start, but for what says "now".
struct AnswerBookStats {
  std::uint32_t n_live = 0;     // now
  std::uint32_t n_readers = 0;  // now
  std::uint64_t n_taken_over = 0;
  std::uint64_t n_abandoned = 0;
};

/// Thread-safe. A shared_ptr, because answers and calls of the store tell it of their ends whenever
/// those come: close() makes it deaf, and from then on it touches nothing but itself.
class AnswerBook final : public AnswerKeeper, public std::enable_shared_from_this<AnswerBook> {
 public:
  /// Generator, pool, store and log must live until close() has returned.
  static std::shared_ptr<AnswerBook> create(engine::Generator& generator, Executor& pool,
                                            Store& store, Log& log, AnswerBookOptions options);
  ~AnswerBook() override = default;

  /// Submits a new answer and asks the journal to admit it. Errors: those of Generator::submit().
  Result<std::shared_ptr<LiveAnswer>> begin(StreamRecord record, AnswerPlan plan,
                                            QueueTicket ticket);

  /// The answer of an id: live, or out of the journal; one that a dead server left is taken over.
  /// Errors: kNotFound, kUnavailable (it runs on another server, or the journal cannot be read).
  Task<Result<std::shared_ptr<LiveAnswer>>> find(std::string id, Executor& home);

  /// The answer that a tenant's key names. Null: there is none, and the caller holds the key until
  /// begin() fills it or release_key() gives it up; others who ask for it wait. Errors:
  /// kInvalidArgument (the key came with another request), kUnavailable.
  Task<Result<std::shared_ptr<LiveAnswer>>> enter_key(std::string tenant, std::string key,
                                                      std::string request_hash, Executor& home);
  void release_key(const std::string& tenant, const std::string& key);

  /// Claims what dead servers left, and lets it go on. Blocks until it is claimed.
  void take_over();

  /// Tells every reader to leave; answers go on.
  void interrupt(const Error& error);
  /// Ends all that cannot go on elsewhere, writes what ended, lets go of the rest.
  void close();

  AnswerBookStats stats() const;
  std::shared_ptr<std::atomic<std::uint32_t>> reader_count() const { return n_readers_; }

  // AnswerKeeper
  void on_ended(LiveAnswer& answer) override;
  void on_settled(std::shared_ptr<LiveAnswer> answer) override;
  void on_unread(std::shared_ptr<LiveAnswer> answer, std::uint64_t n_visits) override;
  void cancel(engine::GenerationId id) override;

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, idempotency key
  struct KeyEntry {
    std::string request_hash;
    std::shared_ptr<LiveAnswer> answer;  // null: somebody is about to begin it
    std::vector<std::shared_ptr<Signal>> waiting;
  };

  AnswerBook(engine::Generator& generator, Executor& pool, Store& store, Log& log,
             AnswerBookOptions options);

  Status submit(LiveAnswer& answer);
  std::uint32_t weight_of(const std::string& tenant) const;
  void add(const std::shared_ptr<LiveAnswer>& answer);
  void remove(const LiveAnswer& answer);
  std::shared_ptr<LiveAnswer> find_live(const std::string& id) const;
  std::chrono::milliseconds grace_of(const LiveAnswer& answer) const;

  Task<Result<std::shared_ptr<LiveAnswer>>> open(StreamRecord record, bool may_run_again,
                                                 Executor& home);
  Result<std::shared_ptr<LiveAnswer>> open_ended(StreamRecord record) const;
  std::shared_ptr<LiveAnswer> adopt(StreamRecord record);
  Task<void> go_on(std::vector<std::shared_ptr<LiveAnswer>> answers);
  void refuse_record(const StreamRecord& record, Error error);
  Task<Result<std::shared_ptr<LiveAnswer>>> find_key(std::string tenant, std::string key,
                                                     std::string request_hash, Executor& home);

  void write_end(std::shared_ptr<LiveAnswer> answer);
  void on_written(const std::shared_ptr<LiveAnswer>& answer, const Status& written);
  Task<void> keep_leases();
  void start(Task<void> task);
  std::int64_t lease_end_ms() const;

  engine::Generator& generator_;
  Executor& pool_;
  Store& store_;
  Log& log_;
  const AnswerBookOptions options_;
  const std::string fingerprint_;
  const std::shared_ptr<const engine::Tokenizer> tokenizer_;  // owners: descriptions, answers
  const std::shared_ptr<std::atomic<std::uint32_t>> n_readers_;

  std::atomic<std::uint64_t> n_taken_over_ = 0;
  std::atomic<std::uint64_t> n_abandoned_ = 0;
  CancelSource closing_;

  mutable std::mutex mutex_;
  std::condition_variable quiet_;
  bool is_closed_ = false;
  int n_tasks_ = 0;
  int n_writing_ = 0;
  std::unordered_map<std::string, std::shared_ptr<LiveAnswer>> live_;
  std::map<Key, KeyEntry> keys_;
  std::vector<std::shared_ptr<LiveAnswer>> unwritten_;  // ended while the journal did not take it
};

/// Reasons of this book's errors.
inline constexpr std::string_view kReasonKeyReused = "idempotency_key_reused";
inline constexpr std::string_view kReasonElsewhere = "answer_elsewhere";
inline constexpr std::string_view kReasonModelChanged = "model_changed";

}  // namespace deepwell::service
