// Beginning and ending answers, graces, and the journal's word on each.
#include "service/dialogue/answer_book.hpp"

#include <utility>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/dialogue/answer_reader.hpp"

namespace deepwell::service {

namespace {

// How long close() waits for what is being written.
constexpr std::chrono::milliseconds kLastWrites{2000};
// Ended answers that are kept while the journal does not take them.
constexpr std::size_t kMaxUnwritten = 1000;

Error abandoned(std::chrono::milliseconds grace) {
  return {.code = Code::kCancelled,
          .message = concat("nobody read the answer for ", grace.count(), " ms: it was stopped"),
          .reason = std::string(kReasonAbandoned)};
}

}  // namespace

AnswerBook::AnswerBook(engine::Generator& generator, Executor& pool, Store& store, Log& log,
                       AnswerBookOptions options)
    : generator_(generator),
      pool_(pool),
      store_(store),
      log_(log),
      options_(std::move(options)),
      fingerprint_(generator.describe().fingerprint),
      tokenizer_(generator.describe().tokenizer),
      n_readers_(std::make_shared<std::atomic<std::uint32_t>>(0)) {}

std::shared_ptr<AnswerBook> AnswerBook::create(engine::Generator& generator, Executor& pool,
                                               Store& store, Log& log, AnswerBookOptions options) {
  std::shared_ptr<AnswerBook> book(new AnswerBook(generator, pool, store, log, std::move(options)));
  book->start(book->keep_leases());
  return book;
}

std::int64_t AnswerBook::lease_end_ms() const { return wall_clock_ms() + options_.lease.count(); }

Result<std::shared_ptr<LiveAnswer>> AnswerBook::begin(StreamRecord record, AnswerPlan plan,
                                                      QueueTicket ticket) {
  record.owner_front = options_.front_id;
  record.lease_until_ms = lease_end_ms();
  record.epoch = 1;
  record.fingerprint = fingerprint_;
  StreamRecord full = record;
  full.plan = encode_plan(plan);
  full.prompt = plan.prompt;
  auto answer = std::make_shared<LiveAnswer>(std::move(record), std::move(plan), tokenizer_,
                                             shared_from_this(), std::move(ticket));
  const Status submitted = submit(*answer);
  if (!submitted) {
    for (const auto id : answer->running_generations()) generator_.cancel(id);
    return submitted.error();
  }
  answer->drop_prompt();
  add(answer);
  store_.admit(std::move(full), [self = shared_from_this(), answer](const Status& admitted) {
    const bool is_taken = !admitted && admitted.error().code == Code::kAlreadyExists;
    if (is_taken) {
      answer->deny(Error{.code = Code::kAborted,
                         .message = "another server has just begun the answer of this "
                                    "Idempotency-Key: ask again",
                         .reason = std::string(kReasonElsewhere)});
    } else {
      answer->set_admitted(admitted.has_value());
    }
  });
  return answer;
}

std::uint32_t AnswerBook::weight_of(const std::string& tenant) const {
  const auto found = options_.tenant_weights.find(tenant);
  return found == options_.tenant_weights.end() ? 1 : found->second;
}

Status AnswerBook::submit(LiveAnswer& answer) {
  const AnswerPlan& plan = answer.plan();
  for (std::uint32_t i = 0; i < plan.n_choices(); ++i) {
    if (answer.has_generation(i)) continue;
    engine::GenerateRequest request;
    request.prompt = plan.prompt;
    request.sampling = plan.sampling;
    request.sampling.seed = plan.sampling.seed + i;
    request.max_tokens = plan.max_tokens;
    request.ignore_end = plan.ignore_end;
    request.tenant = answer.origin().tenant;
    request.tenant_weight = weight_of(request.tenant);
    request.priority = plan.priority;
    request.tag = plan.tags[i];
    DW_ASSIGN(const auto id, generator_.submit(std::move(request), answer.sink(i)));
    answer.set_generation(i, id);
  }
  return {};
}

void AnswerBook::add(const std::shared_ptr<LiveAnswer>& answer) {
  const AnswerOrigin& origin = answer->origin();
  std::vector<std::shared_ptr<Signal>> waiting;
  {
    const std::lock_guard lock(mutex_);
    live_[answer->info().id] = answer;
    if (!origin.idempotency_key.empty()) {
      KeyEntry& entry = keys_[{origin.tenant, origin.idempotency_key}];
      entry.request_hash = origin.request_hash;
      entry.answer = answer;
      waiting = std::move(entry.waiting);
    }
  }
  for (const auto& signal : waiting) signal->notify();
}

void AnswerBook::remove(const LiveAnswer& answer) {
  const AnswerOrigin& origin = answer.origin();
  const std::lock_guard lock(mutex_);
  live_.erase(answer.info().id);
  const auto found = keys_.find({origin.tenant, origin.idempotency_key});
  if (found != keys_.end() && found->second.answer.get() == &answer) keys_.erase(found);
}

std::shared_ptr<LiveAnswer> AnswerBook::find_live(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second;
}

// Whose client can come back: it knows the id from the first event, or has its own key.
std::chrono::milliseconds AnswerBook::grace_of(const LiveAnswer& answer) const {
  const bool can_come_back = answer.plan().is_streamed || !answer.origin().idempotency_key.empty();
  return can_come_back ? options_.reattach_grace : std::chrono::milliseconds(0);
}

// --- what answers tell -------------------------------------------------------------------------

void AnswerBook::on_ended(LiveAnswer& answer) {
  if (answer.end_state() == StreamState::kAbandoned) ++n_abandoned_;
  const std::lock_guard lock(mutex_);
  if (!is_closed_ && options_.on_end) options_.on_end(answer);
}

void AnswerBook::on_unread(std::shared_ptr<LiveAnswer> answer, std::uint64_t n_visits) {
  const auto grace = grace_of(*answer);
  if (grace.count() == 0) {
    answer->fail_if_unread(n_visits, abandoned(grace), StreamState::kAbandoned);
    return;
  }
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  pool_.post_at(std::chrono::steady_clock::now() + grace, [answer, n_visits, grace] {
    answer->fail_if_unread(n_visits, abandoned(grace), StreamState::kAbandoned);
  });
}

// Never at once: an answer may tell it on the generator's own thread.
void AnswerBook::cancel(engine::GenerationId id) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  pool_.post([self = shared_from_this(), id] { self->generator_.cancel(id); });
}

void AnswerBook::on_settled(std::shared_ptr<LiveAnswer> answer) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  ++n_writing_;
  pool_.post([self = shared_from_this(), answer = std::move(answer)] { self->write_end(answer); });
}

// On the pool, for a long answer takes a millisecond to write down.
void AnswerBook::write_end(std::shared_ptr<LiveAnswer> answer) {
  if (!answer->is_admitted()) {
    on_written(answer, {});
    return;
  }
  StreamEnd end{.id = answer->info().id,
                .front = options_.front_id,
                .epoch = answer->origin().epoch,
                .state = answer->end_state(),
                .outcome = encode_outcome(answer->outcome())};
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  store_.end(std::move(end), [self = shared_from_this(), answer](const Status& written) {
    self->on_written(answer, written);
  });
}

void AnswerBook::on_written(const std::shared_ptr<LiveAnswer>& answer, const Status& written) {
  if (!written && written.error().code == Code::kAborted) {
    log_.warn("answer ", answer->info().id, " ended here, but the journal says that another ",
              "server runs it");
  }
  const bool must_retry = !written && written.error().code == Code::kUnavailable;
  if (!must_retry) remove(*answer);
  const std::lock_guard lock(mutex_);
  if (must_retry && unwritten_.size() < kMaxUnwritten) unwritten_.push_back(answer);
  if (must_retry && unwritten_.size() >= kMaxUnwritten) live_.erase(answer->info().id);
  --n_writing_;
  quiet_.notify_all();
}

// --- the end of the book -----------------------------------------------------------------------

void AnswerBook::start(Task<void> task) {
  {
    const std::lock_guard lock(mutex_);
    ++n_tasks_;
  }
  spawn(pool_, std::move(task), [self = shared_from_this()](std::exception_ptr failure) {
    if (failure) self->log_.error("the answer book failed at its work in the background");
    const std::lock_guard lock(self->mutex_);
    --self->n_tasks_;
    self->quiet_.notify_all();
  });
}

void AnswerBook::interrupt(const Error& error) {
  std::vector<std::shared_ptr<LiveAnswer>> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, answer] : live_) all.push_back(answer);
  }
  for (const auto& answer : all) answer->interrupt(error);
}

void AnswerBook::close() {
  closing_.request_stop();
  std::vector<std::shared_ptr<LiveAnswer>> left;
  {
    std::unique_lock lock(mutex_);
    quiet_.wait(lock, [this] { return n_tasks_ == 0; });
    quiet_.wait_for(lock, kLastWrites, [this] { return n_writing_ == 0; });
    is_closed_ = true;
    for (const auto& [id, answer] : live_) left.push_back(answer);
    live_.clear();
    keys_.clear();
    unwritten_.clear();
  }
  for (const auto& answer : left) {
    // What the journal has may go on: the workers keep it for whoever comes next.
    if (options_.survives_process && answer->is_admitted()) continue;
    for (const auto id : answer->running_generations()) generator_.cancel(id);
  }
  store_.renew(options_.front_id, 0, [](const Status&) {});
}

AnswerBookStats AnswerBook::stats() const {
  AnswerBookStats stats;
  stats.n_readers = n_readers_->load();
  stats.n_taken_over = n_taken_over_.load();
  stats.n_abandoned = n_abandoned_.load();
  const std::lock_guard lock(mutex_);
  stats.n_live = static_cast<std::uint32_t>(live_.size());
  return stats;
}

}  // namespace deepwell::service
