// The writer thread, and the statements behind each call.
#include "service/store/sqlite.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/store/sqlite_db.hpp"
#include "service/store/sqlite_schema.hpp"

namespace deepwell::service {

namespace {

using Clock = std::chrono::steady_clock;
using engine::TokenId;

constexpr std::size_t kMaxBatch = 512;
constexpr std::chrono::seconds kSweepInterval{5};
// While the disk refuses, so often it is tried again.
constexpr std::chrono::seconds kProbeInterval{1};
constexpr std::int64_t kRowOverheadBytes = 512;  // keys, indices, page headers: a round guess

std::span<const std::byte> bytes_of(const std::vector<TokenId>& ids) {
  return std::as_bytes(std::span(ids));
}

std::vector<TokenId> ids_of(std::span<const std::byte> bytes) {
  std::vector<TokenId> ids(bytes.size() / sizeof(TokenId));
  std::copy_n(bytes.begin(), ids.size() * sizeof(TokenId),
              std::as_writable_bytes(std::span(ids)).begin());
  return ids;
}

// All columns, in the order in which read_record() reads them.
#define DW_STREAM_COLUMNS                                                                  \
  "s.id, s.tenant, p.owner, p.model, p.fingerprint, p.created_unix_s, s.idempotency_key, " \
  "p.request_hash, p.prompt, p.plan, s.state, s.owner_front, s.lease_until_ms, s.epoch, "  \
  "s.ended_unix_ms, p.outcome FROM streams AS s JOIN payloads AS p ON p.seq = s.seq "

StreamRecord read_record(const SqliteDb::Query& row) {
  StreamRecord record;
  int at = 0;
  record.id = row.text(at++);
  record.tenant = row.text(at++);
  record.owner = row.text(at++);
  record.model = row.text(at++);
  record.fingerprint = row.text(at++);
  record.created_unix_s = row.integer(at++);
  record.idempotency_key = row.text(at++);
  record.request_hash = row.text(at++);
  record.prompt = ids_of(row.blob(at++));
  record.plan = row.text(at++);
  record.state = static_cast<StreamState>(row.integer(at++));
  record.owner_front = row.text(at++);
  record.lease_until_ms = row.integer(at++);
  record.epoch = static_cast<std::uint64_t>(row.integer(at++));
  record.ended_unix_ms = row.integer(at++);
  record.outcome = row.text(at++);
  return record;
}

// A statement that gives at most one row, and whose row is not needed.
Result<bool> step_once(SqliteDb::Query& query) { return query.step(); }

// One call that waits for its turn.
class Op {
 public:
  explicit Op(bool is_read) : is_read_(is_read) {}
  virtual ~Op() = default;
  /// Error: kUnavailable, when the database failed and not the call.
  virtual Status run(SqliteDb& db) = 0;
  virtual void answer(const Status& committed) = 0;
  bool is_read() const { return is_read_; }

 private:
  const bool is_read_;
};

template <class T, class Work>
class OpOf final : public Op {
 public:
  OpOf(bool is_read, Work work, StoreDone<T> done)
      : Op(is_read), work_(std::move(work)), done_(std::move(done)) {}

  Status run(SqliteDb& db) override {
    result_.emplace(work_(db));
    if (!*result_ && result_->error().code == Code::kUnavailable) return result_->error();
    return {};
  }
  void answer(const Status& committed) override {
    if (committed && result_) {
      done_(std::move(*result_));
    } else {
      done_(committed ? unavailable("journal: not tried") : committed.error());
    }
  }

 private:
  Work work_;
  StoreDone<T> done_;
  std::optional<Result<T>> result_;
};

class SqliteStore final : public Store {
 public:
  SqliteStore(SqliteStoreOptions options, Log& log) : options_(std::move(options)), log_(log) {
    if (!options_.now_ms) options_.now_ms = [] { return wall_clock_ms(); };
    reopen();
    thread_ = std::thread([this] { loop(); });
  }

  ~SqliteStore() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void admit(StreamRecord record, StoreDone<void> done) override {
    post<void>(
        false, [this, record = std::move(record)](SqliteDb& db) { return do_admit(db, record); },
        std::move(done));
  }
  void end(StreamEnd end, StoreDone<void> done) override {
    post<void>(
        false, [this, end = std::move(end)](SqliteDb& db) { return do_end(db, end); },
        std::move(done));
  }
  void find(std::string id, StoreDone<StreamRecord> done) override {
    post<StreamRecord>(
        true, [id = std::move(id)](SqliteDb& db) { return do_find(db, id); }, std::move(done));
  }
  void find_by_key(std::string tenant, std::string key, StoreDone<StreamRecord> done) override {
    post<StreamRecord>(
        true,
        [tenant = std::move(tenant), key = std::move(key)](SqliteDb& db) {
          return do_find_by_key(db, tenant, key);
        },
        std::move(done));
  }
  void claim(Claim claim, StoreDone<std::vector<StreamRecord>> done) override {
    post<std::vector<StreamRecord>>(
        false, [this, claim = std::move(claim)](SqliteDb& db) { return do_claim(db, claim); },
        std::move(done));
  }
  void revive(std::string id, std::uint64_t epoch, std::string front, std::int64_t lease_until_ms,
              StoreDone<StreamRecord> done) override {
    post<StreamRecord>(
        false,
        [this, id = std::move(id), epoch, front = std::move(front), lease_until_ms](SqliteDb& db) {
          return do_revive(db, id, epoch, front, lease_until_ms);
        },
        std::move(done));
  }
  void renew(std::string front, std::int64_t lease_until_ms, StoreDone<void> done) override {
    post<void>(
        false,
        [front = std::move(front), lease_until_ms](SqliteDb& db) {
          return do_renew(db, front, lease_until_ms);
        },
        std::move(done));
  }
  void sweep(StoreDone<void> done) override {
    post<void>(
        false, [this](SqliteDb& db) { return do_sweep(db); }, std::move(done));
  }

  StoreHealth health() const override {
    const std::lock_guard lock(mutex_);
    return health_;
  }

 private:
  using Batch = std::vector<std::unique_ptr<Op>>;

  template <class T, class Work>
  void post(bool is_read, Work work, StoreDone<T> done) {
    auto op = std::make_unique<OpOf<T, Work>>(is_read, std::move(work), std::move(done));
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) first_queued_ = Clock::now();
      queue_.push_back(std::move(op));
    }
    wake_.notify_one();
  }

  // --- the writer thread -----------------------------------------------------------------------

  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait_until(lock, next_sweep_, [this] { return is_stopping_ || !queue_.empty(); });
      if (queue_.empty() && is_stopping_) return;
      Batch batch;
      while (!queue_.empty() && batch.size() < kMaxBatch) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      const auto began = first_queued_;
      first_queued_ = Clock::now();
      const bool is_degraded = health_.is_degraded;
      lock.unlock();
      if (Clock::now() >= next_sweep_) {
        add_sweep(batch, is_degraded);
        next_sweep_ = Clock::now() + (is_degraded ? std::chrono::seconds(kProbeInterval)
                                                  : std::chrono::seconds(kSweepInterval));
      }
      if (!batch.empty()) commit(batch, began);
      lock.lock();
    }
  }

  void add_sweep(Batch& batch, bool is_degraded) {
    auto work = [this, is_degraded](SqliteDb& db) -> Status {
      // Deleting nothing writes nothing and would prove nothing.
      if (is_degraded) DW_TRY(db.run("UPDATE machine SET n_probes = n_probes + 1"));
      total_bytes_.reset();  // another server may share the file
      return do_sweep(db);
    };
    batch.push_back(
        std::make_unique<OpOf<void, decltype(work)>>(false, std::move(work), [](const Status&) {}));
  }

  // All of a batch in one transaction, or none of it.
  void commit(Batch& batch, Clock::time_point began) {
    if (db_ == nullptr && Clock::now() >= next_open_) reopen();
    bool has_writes = false;
    for (const auto& op : batch) has_writes = has_writes || !op->is_read();
    Status committed = db_ == nullptr ? Status(unavailable(health().reason)) : run_all(batch);
    if (!committed && db_ != nullptr) {
      total_bytes_.reset();
      rescue(committed.error());
    }
    if (has_writes) set_health(committed);  // reading proves nothing about a disk
    for (const auto& op : batch) {
      if (committed || !op->is_read() || db_ == nullptr) {
        op->answer(committed);
        continue;
      }
      const Status read = op->run(*db_);  // reading does not need the room that writing lacks
      op->answer(read);
    }
    if (committed && has_writes && options_.on_commit) {
      options_.on_commit(std::chrono::duration<double>(Clock::now() - began).count());
    }
  }

  Status run_all(Batch& batch) {
    Status done = db_->run("BEGIN IMMEDIATE");
    for (const auto& op : batch) {
      if (done) done = op->run(*db_);
    }
    if (done) done = make_room(*db_);
    if (done) done = db_->run("COMMIT");
    if (!done && db_->is_in_transaction()) static_cast<void>(db_->run("ROLLBACK"));
    return done;
  }

  void reopen() {
    auto opened = open_journal(options_.path, options_.durability, log_);
    next_open_ = Clock::now() + kProbeInterval;
    if (opened) {
      db_ = std::move(*opened);
    } else {
      set_health(std::move(opened).error());
    }
  }

  // A file that went bad while it was open is replaced; what ran goes on unjournalled.
  void rescue(const Error& error) {
    if (error.reason != kReasonCorrupt || options_.path.empty()) return;
    db_.reset();
    const Status moved = set_aside(options_.path, error.message, log_);
    if (moved) reopen();
  }

  void set_health(const Status& status) {
    StoreHealth health{.is_degraded = !status, .reason = status ? "" : status.error().message};
    if (status && is_full_) {
      health = {.is_degraded = true, .reason = "journal: full of running answers"};
    }
    const auto now = Clock::now();
    if (health.is_degraded) last_failure_ = now;
    const std::lock_guard lock(mutex_);
    if (!health.is_degraded && health_.is_degraded && now - last_failure_ < options_.calm) return;
    if (health.is_degraded && !health_.is_degraded) {
      log_.error(health.reason, ": answers go on, but not after a restart of this server");
      next_sweep_ = Clock::now() + kProbeInterval;
    } else if (!health.is_degraded && health_.is_degraded) {
      log_.info("the journal works again");
    }
    health_ = std::move(health);
  }

  // --- the statements --------------------------------------------------------------------------

  Status do_admit(SqliteDb& db, const StreamRecord& record) {
    const auto n_bytes = static_cast<std::int64_t>(
        bytes_of(record.prompt).size() + record.plan.size() + record.fingerprint.size() +
        record.model.size() + record.id.size() + record.idempotency_key.size());
    DW_ASSIGN(const std::int64_t n_running, running_bytes(db));
    is_full_ = n_running + n_bytes > static_cast<std::int64_t>(options_.max_bytes);
    if (is_full_) {
      return Error{
          .code = Code::kResourceExhausted,
          .message = concat("journal: running answers fill its ", options_.max_bytes, " bytes")};
    }
    {
      auto insert = db.query(
          "INSERT INTO streams (id, tenant, idempotency_key, state, owner_front, lease_until_ms, "
          "epoch, ended_unix_ms, n_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
      insert.bind(record.id).bind(record.tenant);
      if (record.idempotency_key.empty()) {
        insert.bind_null();
      } else {
        insert.bind(record.idempotency_key);
      }
      insert.bind(static_cast<std::int64_t>(record.state))
          .bind(record.owner_front)
          .bind(record.lease_until_ms)
          .bind(static_cast<std::int64_t>(record.epoch))
          .bind(record.ended_unix_ms)
          .bind(n_bytes + kRowOverheadBytes);
      const auto inserted = step_once(insert);
      if (!inserted) return inserted.error();
    }
    const std::int64_t seq = db.last_row();
    auto payload = db.query(
        "INSERT INTO payloads (seq, owner, model, fingerprint, created_unix_s, request_hash, "
        "prompt, plan, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    payload.bind(seq)
        .bind(record.owner)
        .bind(record.model)
        .bind(record.fingerprint)
        .bind(record.created_unix_s)
        .bind(record.request_hash)
        .bind_blob(bytes_of(record.prompt))
        .bind(record.plan)
        .bind(record.outcome);
    DW_TRY(step_once(payload));
    add_bytes(n_bytes + kRowOverheadBytes, 1);
    return {};
  }

  Status do_end(SqliteDb& db, const StreamEnd& end) {
    std::int64_t seq = 0;
    {
      auto update = db.query(
          "UPDATE streams SET state = ?, ended_unix_ms = ?, n_bytes = n_bytes + ? "
          "WHERE id = ? AND owner_front = ? AND epoch = ? AND state = 0 RETURNING seq, n_bytes");
      update.bind(static_cast<std::int64_t>(end.state))
          .bind(options_.now_ms())
          .bind(static_cast<std::int64_t>(end.outcome.size()))
          .bind(end.id)
          .bind(end.front)
          .bind(static_cast<std::int64_t>(end.epoch));
      DW_ASSIGN(const bool is_mine, update.step());
      if (!is_mine) {
        return Error{.code = Code::kAborted,
                     .message = concat("stream ", end.id, " does not run here any more")};
      }
      seq = update.integer(0);
      if (running_bytes_) *running_bytes_ -= update.integer(1) - std::ssize(end.outcome);
      if (total_bytes_) *total_bytes_ += std::ssize(end.outcome);
    }
    auto payload = db.query("UPDATE payloads SET outcome = ? WHERE seq = ?");
    payload.bind(end.outcome).bind(seq);
    DW_TRY(step_once(payload));
    return {};
  }

  static Result<StreamRecord> one_record(SqliteDb::Query& row, std::string_view what) {
    DW_ASSIGN(const bool has_row, row.step());
    if (!has_row) return not_found(concat("no stream ", what));
    return read_record(row);
  }

  static Result<StreamRecord> do_find(SqliteDb& db, const std::string& id) {
    auto row = db.query("SELECT " DW_STREAM_COLUMNS "WHERE s.id = ?");
    row.bind(id);
    return one_record(row, id);
  }

  static Result<StreamRecord> do_find_by_key(SqliteDb& db, const std::string& tenant,
                                             const std::string& key) {
    auto row = db.query("SELECT " DW_STREAM_COLUMNS "WHERE s.tenant = ? AND s.idempotency_key = ?");
    row.bind(tenant).bind(key);
    return one_record(row, "of this key");
  }

  // One UPDATE: of two claimers at once, in this process or another, one gets the row.
  Result<std::vector<StreamRecord>> do_claim(SqliteDb& db, const Claim& claim) {
    std::vector<std::int64_t> claimed;
    const auto take = [&](const std::string* dead_front) -> Status {
      auto update = db.query(
          "UPDATE streams SET owner_front = ?1, lease_until_ms = ?2, epoch = epoch + 1 "
          "WHERE state = 0 AND owner_front <> ?1 AND (owner_front = ?3 OR lease_until_ms < ?4) "
          "AND (?5 = '' OR id = ?5) RETURNING seq");
      const std::string nobody;
      update.bind(claim.front)
          .bind(claim.lease_until_ms)
          .bind(dead_front == nullptr ? nobody : *dead_front)
          .bind(options_.now_ms())
          .bind(claim.only_id);
      for (;;) {
        DW_ASSIGN(const bool has_row, update.step());
        if (!has_row) return {};
        claimed.push_back(update.integer(0));
      }
    };
    DW_TRY(take(nullptr));
    for (const std::string& front : claim.dead_fronts) DW_TRY(take(&front));
    std::vector<StreamRecord> records;
    for (const std::int64_t seq : claimed) {
      auto row = db.query("SELECT " DW_STREAM_COLUMNS "WHERE s.seq = ?");
      row.bind(seq);
      DW_ASSIGN(auto record, one_record(row, "claimed"));
      records.push_back(std::move(record));
    }
    return records;
  }

  Result<StreamRecord> do_revive(SqliteDb& db, const std::string& id, std::uint64_t epoch,
                                 const std::string& front, std::int64_t lease_until_ms) {
    {
      auto update = db.query(
          "UPDATE streams SET state = 0, owner_front = ?, lease_until_ms = ?, epoch = epoch + 1, "
          "ended_unix_ms = 0 WHERE id = ? AND epoch = ? AND state IN (2, 3) RETURNING n_bytes");
      update.bind(front).bind(lease_until_ms).bind(id).bind(static_cast<std::int64_t>(epoch));
      DW_ASSIGN(const bool is_mine, update.step());
      if (!is_mine) {
        return Error{.code = Code::kAborted, .message = concat("stream ", id, " has changed")};
      }
      if (running_bytes_) *running_bytes_ += update.integer(0);
    }
    return do_find(db, id);
  }

  static Status do_renew(SqliteDb& db, const std::string& front, std::int64_t lease_until_ms) {
    auto update =
        db.query("UPDATE streams SET lease_until_ms = ? WHERE state = 0 AND owner_front = ?");
    update.bind(lease_until_ms).bind(front);
    DW_TRY(step_once(update));
    return {};
  }

  Status do_sweep(SqliteDb& db) {
    for (;;) {
      DW_ASSIGN(const int n_deleted,
                delete_ended(db, options_.now_ms() - options_.retention.count(), 1000));
      if (n_deleted == 0) return make_room(db);
    }
  }

  // --- the bound -------------------------------------------------------------------------------

  void add_bytes(std::int64_t n_bytes, int n_running_sign) {
    if (total_bytes_) *total_bytes_ += n_bytes;
    if (running_bytes_) *running_bytes_ += n_running_sign * n_bytes;
  }

  Result<std::int64_t> running_bytes(SqliteDb& db) {
    if (!running_bytes_ || !total_bytes_) {
      DW_ASSIGN(running_bytes_,
                db.integer("SELECT coalesce(sum(n_bytes), 0) FROM streams WHERE state = 0"));
      DW_ASSIGN(total_bytes_, db.integer("SELECT coalesce(sum(n_bytes), 0) FROM streams"));
    }
    return *running_bytes_;
  }

  // Running streams stay, whatever they hold: admit() bounds them.
  Status make_room(SqliteDb& db) {
    DW_TRY(running_bytes(db));
    const auto max_bytes = static_cast<std::int64_t>(options_.max_bytes);
    while (*total_bytes_ > max_bytes) {
      DW_ASSIGN(const int n_deleted, delete_ended(db, INT64_MAX, 16));
      if (n_deleted == 0) return {};
    }
    return {};
  }

  // Deletes at most so many of the streams that ended first, before a time.
  Result<int> delete_ended(SqliteDb& db, std::int64_t before_ms, std::int64_t n_max) {
    int n_deleted = 0;
    auto rows = db.query(
        "DELETE FROM streams WHERE seq IN (SELECT seq FROM streams WHERE state <> 0 AND "
        "ended_unix_ms < ? ORDER BY ended_unix_ms LIMIT ?) RETURNING seq, n_bytes");
    rows.bind(before_ms).bind(n_max);
    for (;;) {
      DW_ASSIGN(const bool has_row, rows.step());
      if (!has_row) return n_deleted;
      ++n_deleted;
      if (total_bytes_) *total_bytes_ -= rows.integer(1);
      auto payload = db.query("DELETE FROM payloads WHERE seq = ?");
      payload.bind(rows.integer(0));
      DW_TRY(step_once(payload));
    }
  }

  SqliteStoreOptions options_;
  Log& log_;

  // Of the thread (and of the constructor, before it runs).
  std::unique_ptr<SqliteDb> db_;
  Clock::time_point next_open_{};
  Clock::time_point next_sweep_ = Clock::now() + kSweepInterval;
  std::optional<std::int64_t> total_bytes_;  // none: must be asked for
  std::optional<std::int64_t> running_bytes_;
  bool is_full_ = false;
  Clock::time_point last_failure_{};  // of a write

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Op>> queue_;
  Clock::time_point first_queued_{};
  bool is_stopping_ = false;
  StoreHealth health_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Store> open_sqlite_store(SqliteStoreOptions options, Log& log) {
  return std::make_unique<SqliteStore>(std::move(options), log);
}

}  // namespace deepwell::service
