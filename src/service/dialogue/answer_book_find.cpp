// Finding answers: live ones, ended ones, and those that a dead server left.
#include <utility>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/dialogue/answer_book.hpp"

namespace deepwell::service {

namespace {

// A claim, or an end, may be on its way to the book: so often and so far apart it is looked for.
constexpr int kLooks = 50;
constexpr std::chrono::milliseconds kBetweenLooks{10};
// How long a taken-over answer may wait for a place in the generator's queue.
constexpr std::chrono::seconds kSubmitLimit{60};
constexpr std::chrono::milliseconds kBetweenSubmits{100};

using Found = Result<std::shared_ptr<LiveAnswer>>;

bool is_worth_retrying(const Error& error) {
  return error.code == Code::kResourceExhausted || error.code == Code::kUnavailable;
}

Error elsewhere(const std::string& id) {
  return {.code = Code::kUnavailable,
          .message = concat("answer ", id, " runs on another server: ask again in a moment"),
          .reason = std::string(kReasonElsewhere)};
}

Error key_reused(const std::string& key) {
  return {.code = Code::kInvalidArgument,
          .message = concat("the Idempotency-Key '", key,
                            "' came before with another request: use a new key"),
          .reason = std::string(kReasonKeyReused),
          .field = "Idempotency-Key"};
}

}  // namespace

Task<Found> AnswerBook::find(std::string id, Executor& home) {
  if (auto live = find_live(id)) co_return live;
  auto look = [this, &id](StoreDone<StreamRecord> done) { store_.find(id, std::move(done)); };
  auto record = co_await await_store<StreamRecord>(home, std::move(look));
  if (!record) co_return std::move(record).error();
  co_return co_await open(std::move(*record), false, home);
}

Task<Found> AnswerBook::open(StreamRecord record, bool may_run_again, Executor& home) {
  const std::string id = record.id;
  for (int n_looks = 0; n_looks < kLooks; ++n_looks) {
    if (auto live = find_live(id)) co_return live;
    std::vector<StreamRecord> mine;
    if (record.state == StreamState::kRunning) {
      auto take = [this, &id](StoreDone<std::vector<StreamRecord>> done) {
        store_.claim({.front = options_.front_id,
                      .dead_fronts = options_.dead_fronts,
                      .lease_until_ms = lease_end_ms(),
                      .only_id = id},
                     std::move(done));
      };
      auto claimed = co_await await_store<std::vector<StreamRecord>>(home, std::move(take));
      if (!claimed) co_return std::move(claimed).error();
      mine = std::move(*claimed);
    } else if (may_run_again && record.state != StreamState::kFinished) {
      auto again = [this, &record](StoreDone<StreamRecord> done) {
        store_.revive(record.id, record.epoch, options_.front_id, lease_end_ms(), std::move(done));
      };
      auto revived = co_await await_store<StreamRecord>(home, std::move(again));
      if (revived) mine.push_back(std::move(*revived));
    } else {
      co_return open_ended(std::move(record));
    }
    if (!mine.empty()) {
      auto answer = adopt(std::move(mine.front()));
      if (answer) {
        start(go_on({answer}));
        co_return answer;
      }
    }
    // Another server's, or another request's of this one: it will show soon.
    if (mine.empty()) {
      const SteadyTime then = std::chrono::steady_clock::now() + kBetweenLooks;
      co_await sleep_until(home, then, closing_.get_token());
      if (closing_.stop_requested()) break;
    }
    auto look = [this, &id](StoreDone<StreamRecord> done) { store_.find(id, std::move(done)); };
    auto now = co_await await_store<StreamRecord>(home, std::move(look));
    if (!now) co_return std::move(now).error();
    record = std::move(*now);
    may_run_again = may_run_again && mine.empty();  // what could not be adopted stays ended
  }
  co_return elsewhere(id);
}

Found AnswerBook::open_ended(StreamRecord record) const {
  DW_ASSIGN(auto plan, decode_plan(record.plan, std::move(record.prompt)));
  DW_ASSIGN(auto outcome, decode_outcome(record.outcome));
  if (record.fingerprint != fingerprint_) {
    // Another model's tokens are other text.
    return Error{.code = Code::kFailedPrecondition,
                 .message = concat("answer ", record.id, " was given by model ", record.fingerprint,
                                   ", this server runs ", fingerprint_),
                 .reason = std::string(kReasonModelChanged)};
  }
  return LiveAnswer::ended(std::move(record), std::move(plan), std::move(outcome), tokenizer_);
}

// --- idempotency -------------------------------------------------------------------------------

Task<Found> AnswerBook::enter_key(std::string tenant, std::string key, std::string request_hash,
                                  Executor& home) {
  for (;;) {
    std::shared_ptr<Signal> signal;
    {
      const std::lock_guard lock(mutex_);
      const auto [entry, is_new] = keys_.try_emplace({tenant, key});
      if (is_new) {
        entry->second.request_hash = request_hash;
        break;
      }
      if (entry->second.request_hash != request_hash) co_return key_reused(key);
      if (entry->second.answer) co_return entry->second.answer;
      signal = std::make_shared<Signal>(home);
      entry->second.waiting.push_back(signal);
    }
    co_await signal->wait();
  }
  auto found = co_await find_key(tenant, key, request_hash, home);
  if (!found || *found) release_key(tenant, key);
  co_return found;
}

Task<Found> AnswerBook::find_key(std::string tenant, std::string key, std::string request_hash,
                                 Executor& home) {
  auto look = [this, &tenant, &key](StoreDone<StreamRecord> done) {
    store_.find_by_key(tenant, key, std::move(done));
  };
  auto record = co_await await_store<StreamRecord>(home, std::move(look));
  // A journal that cannot be read stops nobody: then a key holds within this process only.
  if (!record) co_return std::shared_ptr<LiveAnswer>();
  if (record->request_hash != request_hash) co_return key_reused(key);
  co_return co_await open(std::move(*record), true, home);
}

// Keeps the entry if an answer fills it.
void AnswerBook::release_key(const std::string& tenant, const std::string& key) {
  std::vector<std::shared_ptr<Signal>> waiting;
  {
    const std::lock_guard lock(mutex_);
    const auto found = keys_.find({tenant, key});
    if (found == keys_.end()) return;
    waiting = std::move(found->second.waiting);
    if (!found->second.answer) keys_.erase(found);
  }
  for (const auto& signal : waiting) signal->notify();
}

// --- taking over -------------------------------------------------------------------------------

void AnswerBook::refuse_record(const StreamRecord& record, Error error) {
  log_.warn("answer ", record.id, " cannot go on: ", error.message);
  AnswerOutcome outcome;
  outcome.error = std::move(error);
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  store_.end({.id = record.id,
              .front = record.owner_front,
              .epoch = record.epoch,
              .state = StreamState::kFailed,
              .outcome = encode_outcome(outcome)},
             [](const Status&) {});
}

// A claimed record as a live answer; null if it cannot go on, which is then written.
std::shared_ptr<LiveAnswer> AnswerBook::adopt(StreamRecord record) {
  if (record.fingerprint != fingerprint_) {
    refuse_record(record,
                  Error{.code = Code::kFailedPrecondition,
                        .message = concat("the answer was begun by model ", record.fingerprint,
                                          ", this server runs ", fingerprint_),
                        .reason = std::string(kReasonModelChanged)});
    return nullptr;
  }
  auto plan = decode_plan(record.plan, std::move(record.prompt));
  if (!plan) {
    refuse_record(record, std::move(plan).error());
    return nullptr;
  }
  QueueTicket ticket = options_.gate->enter_always(record.tenant, plan->n_choices());
  auto answer = std::make_shared<LiveAnswer>(std::move(record), std::move(*plan), tokenizer_,
                                             shared_from_this(), std::move(ticket));
  answer->set_admitted(true);
  add(answer);
  ++n_taken_over_;
  return answer;
}

Task<void> AnswerBook::go_on(std::vector<std::shared_ptr<LiveAnswer>> answers) {
  const CancelToken closing = closing_.get_token();
  for (const auto& answer : answers) {
    if (grace_of(*answer).count() == 0) {
      answer->note_unread();  // its client's connection died with the server: nobody can come back
      continue;
    }
    const SteadyTime deadline = std::chrono::steady_clock::now() + kSubmitLimit;
    for (;;) {
      Status submitted = submit(*answer);
      if (submitted) break;
      const SteadyTime now = std::chrono::steady_clock::now();
      if (!is_worth_retrying(submitted.error()) || now >= deadline) {
        answer->fail(std::move(submitted).error(), StreamState::kFailed);
        break;
      }
      const SteadyTime then = now + kBetweenSubmits;
      co_await sleep_until(pool_, then, closing);
      if (closing.stop_requested()) co_return;
    }
    answer->drop_prompt();
    answer->note_unread();
  }
}

void AnswerBook::take_over() {
  auto claim = [this]() -> Task<Result<std::vector<StreamRecord>>> {
    auto take = [this](StoreDone<std::vector<StreamRecord>> done) {
      store_.claim({.front = options_.front_id,
                    .dead_fronts = options_.dead_fronts,
                    .lease_until_ms = lease_end_ms()},
                   std::move(done));
    };
    co_return co_await await_store<std::vector<StreamRecord>>(pool_, std::move(take));
  };
  auto claimed = sync_wait(claim());
  if (!claimed) {
    log_.warn("cannot look for answers that another server left: ", claimed.error().message);
    return;
  }
  std::vector<std::shared_ptr<LiveAnswer>> answers;
  for (StreamRecord& record : *claimed) {
    if (auto answer = adopt(std::move(record))) answers.push_back(std::move(answer));
  }
  if (answers.empty()) return;
  log_.info("taking over ", answers.size(), " unfinished answers");
  start(go_on(std::move(answers)));
}

Task<void> AnswerBook::keep_leases() {
  const CancelToken closing = closing_.get_token();
  const auto interval =
      std::min<std::chrono::milliseconds>(options_.lease / 3, std::chrono::milliseconds(10'000));
  while (!closing.stop_requested()) {
    const SteadyTime then = std::chrono::steady_clock::now() + interval;
    co_await sleep_until(pool_, then, closing);
    if (closing.stop_requested()) co_return;
    store_.renew(options_.front_id, lease_end_ms(), [](const Status&) {});
    std::vector<std::shared_ptr<LiveAnswer>> unwritten;
    {
      const std::lock_guard lock(mutex_);
      unwritten = std::exchange(unwritten_, {});
    }
    for (auto& answer : unwritten) on_settled(std::move(answer));
    auto take = [this](StoreDone<std::vector<StreamRecord>> done) {
      store_.claim({.front = options_.front_id, .lease_until_ms = lease_end_ms()}, std::move(done));
    };
    auto claimed = co_await await_store<std::vector<StreamRecord>>(pool_, std::move(take));
    if (!claimed) continue;
    std::vector<std::shared_ptr<LiveAnswer>> answers;
    for (StreamRecord& record : *claimed) {
      if (auto answer = adopt(std::move(record))) answers.push_back(std::move(answer));
    }
    if (!answers.empty()) start(go_on(std::move(answers)));
  }
}

}  // namespace deepwell::service
