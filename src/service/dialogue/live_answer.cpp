// Taking events, deciding ends, waking readers.
#include "service/dialogue/live_answer.hpp"

#include <algorithm>
#include <utility>

#include "base/concat.hpp"

namespace deepwell::service {

using engine::FinishReason;
using engine::GenerationEvent;
using engine::GenerationId;

namespace {

// A reader far behind gets so much in one go: decoding it takes under a millisecond.
constexpr std::size_t kMaxTokAtOnce = 1024;

// Frees the memory too, which assigning {} does not.
template <class Container>
void release(Container& container) {
  Container().swap(container);
}

AnswerInfo take_info(StreamRecord& record, const AnswerPlan& plan) {
  return {.id = std::move(record.id),
          .model = std::move(record.model),
          .fingerprint = std::move(record.fingerprint),
          .created_unix_s = record.created_unix_s,
          .seed = plan.sampling.seed,
          .n_choices = plan.n_choices(),
          .use_usage_chunk = plan.use_usage_chunk,
          .use_service_tier = plan.use_service_tier,
          .priority = plan.priority};
}

AnswerOrigin take_origin(StreamRecord& record) {
  return {.tenant = std::move(record.tenant),
          .idempotency_key = std::move(record.idempotency_key),
          .request_hash = std::move(record.request_hash),
          .epoch = record.epoch};
}

class ChoiceSink final : public engine::GenerationSink {
 public:
  ChoiceSink(std::shared_ptr<LiveAnswer> answer, std::uint32_t choice)
      : answer_(std::move(answer)), choice_(choice) {}
  void on_event(GenerationEvent event) override { answer_->on_event(choice_, std::move(event)); }

 private:
  const std::shared_ptr<LiveAnswer> answer_;  // owners: the book, readers, and its sinks
  const std::uint32_t choice_;
};

}  // namespace

LiveAnswer::LiveAnswer(StreamRecord record, AnswerPlan plan,
                       std::shared_ptr<const engine::Tokenizer> tokenizer,
                       std::shared_ptr<AnswerKeeper> keeper, QueueTicket ticket)
    : plan_(std::move(plan)),
      info_(take_info(record, plan_)),
      origin_(take_origin(record)),
      n_prompt_tok_(plan_.prompt.size()),
      tokenizer_(std::move(tokenizer)),
      keeper_(std::move(keeper)),
      ticket_(std::move(ticket)),
      choices_(plan_.n_choices()) {
  if (plan_.stop.empty() && !plan_.reasoning) return;
  for (Choice& choice : choices_) {
    choice.tracker = std::make_unique<TextPipeline>(*tokenizer_, plan_);
  }
}

std::shared_ptr<LiveAnswer> LiveAnswer::ended(StreamRecord record, AnswerPlan plan,
                                              AnswerOutcome outcome,
                                              std::shared_ptr<const engine::Tokenizer> tokenizer) {
  const StreamState state = record.state;
  auto answer = std::make_shared<LiveAnswer>(std::move(record), std::move(plan),
                                             std::move(tokenizer), nullptr, QueueTicket());
  const std::size_t n_known = std::min(answer->choices_.size(), outcome.choices.size());
  for (std::size_t i = 0; i < n_known; ++i) {
    answer->choices_[i].log.ids = std::move(outcome.choices[i].ids);
    answer->choices_[i].finish = outcome.choices[i].finish;
  }
  answer->known_usage_ = outcome.usage;
  if (outcome.error) {
    answer->failure_ = std::make_unique<const Error>(std::move(*outcome.error));
  }
  answer->is_continued_ = outcome.is_continued;
  answer->admission_ = Admission::kAdmitted;
  answer->has_ended_ = true;
  answer->end_state_ = state;
  release(answer->plan_.prompt);
  return answer;
}

std::shared_ptr<engine::GenerationSink> LiveAnswer::sink(std::uint32_t choice) {
  return std::make_shared<ChoiceSink>(shared_from_this(), choice);
}

void LiveAnswer::set_generation(std::uint32_t choice, GenerationId id) {
  bool is_wanted = true;
  {
    const std::lock_guard lock(mutex_);
    choices_[choice].generation = id;
    is_wanted = !has_ended_ && !choices_[choice].is_finished();
  }
  if (!is_wanted) keeper_->cancel(id);  // a stop string may have come before its id
}

bool LiveAnswer::has_generation(std::uint32_t choice) const {
  const std::lock_guard lock(mutex_);
  return choices_[choice].generation.has_value();
}

void LiveAnswer::on_event(std::uint32_t choice, GenerationEvent event) {
  Effects effects;
  {
    const std::lock_guard lock(mutex_);
    if (has_ended_ || choices_[choice].is_finished()) return;
    take(choices_[choice], event, effects);
  }
  apply(std::move(effects));
}

void LiveAnswer::take(Choice& choice, GenerationEvent& event, Effects& effects) {
  effects.has_started = !std::exchange(choice.has_started, true);
  if (event.n_mismatched_tok > 0) is_continued_ = true;
  const std::size_t n_before = choice.log.ids.size();
  Status appended = choice.log.append(event);
  if (!appended) return end(StreamState::kFailed, std::move(appended).error(), effects);
  track(choice, n_before);
  if (choice.tracker && choice.tracker->is_stopped()) {
    choice.finish = FinishReason::kStop;
    if (!event.is_last() && choice.generation) effects.cancelled.push_back(*choice.generation);
  } else if (event.finish != FinishReason::kNone) {
    choice.finish = event.finish;
    if (choice.tracker) {
      std::string text;  // what was held back may complete a stop string
      choice.tracker->finish(text, text);
      if (choice.tracker->is_stopped()) choice.finish = FinishReason::kStop;
    }
  } else if (event.error) {
    return end(StreamState::kFailed, std::move(event.error), effects);
  }
  effects.has_news = choice.is_finished() || choice.log.ids.size() > n_before;
  if (choice.is_finished()) choice.tracker.reset();
  const auto is_finished = [](const Choice& one) { return one.is_finished(); };
  if (std::all_of(choices_.begin(), choices_.end(), is_finished)) {
    end(StreamState::kFinished, std::nullopt, effects);
  }
}

// Counts the thought's tokens, and cuts the log behind the one that completed a stop string.
void LiveAnswer::track(Choice& choice, std::size_t from) {
  if (!choice.tracker) return;
  std::string text;
  for (std::size_t i = from; i < choice.log.ids.size(); ++i) {
    if (choice.tracker->is_thinking()) ++choice.n_reasoning_tok;
    text.clear();
    choice.tracker->push(choice.log.ids[i], text, text);
    if (choice.tracker->is_stopped()) choice.log.ids.resize(i + 1);
  }
}

void LiveAnswer::end(StreamState state, std::optional<Error> error, Effects& effects) {
  has_ended_ = true;
  end_state_ = state;
  if (error) failure_ = std::make_unique<const Error>(std::move(*error));
  for (Choice& choice : choices_) {
    if (!choice.is_finished() && choice.generation) {
      effects.cancelled.push_back(*choice.generation);
    }
    choice.tracker.reset();
  }
  effects.has_ended = effects.has_news = true;
  settle(effects);
}

void LiveAnswer::settle(Effects& effects) {
  if (!has_ended_ || admission_ == Admission::kPending || is_settled_) return;
  is_settled_ = effects.is_settled = true;
}

void LiveAnswer::apply(Effects effects) {
  for (const GenerationId id : effects.cancelled) keeper_->cancel(id);
  if (effects.has_ended) keeper_->on_ended(*this);
  {
    const std::lock_guard lock(mutex_);
    if (effects.has_started) ticket_.start_one();
    if (effects.has_ended) ticket_.end();
    if (effects.has_news) {
      for (const auto& reader : readers_) reader->notify();
    }
  }
  if (effects.is_settled) keeper_->on_settled(shared_from_this());
}

void LiveAnswer::set_admitted(bool is_admitted) {
  Effects effects;
  effects.has_news = true;
  {
    const std::lock_guard lock(mutex_);
    if (admission_ != Admission::kPending) return;
    admission_ = is_admitted ? Admission::kAdmitted : Admission::kRefused;
    settle(effects);
  }
  apply(std::move(effects));
}

void LiveAnswer::drop_prompt() {
  const std::lock_guard lock(mutex_);
  release(plan_.prompt);
}

void LiveAnswer::fail(Error error, StreamState state) {
  Effects effects;
  {
    const std::lock_guard lock(mutex_);
    if (has_ended_) return;
    end(state, std::move(error), effects);
  }
  apply(std::move(effects));
}

void LiveAnswer::fail_if_unread(std::uint64_t n_visits, Error error, StreamState state) {
  Effects effects;
  {
    const std::lock_guard lock(mutex_);
    if (has_ended_ || !readers_.empty() || n_visits_ != n_visits) return;
    end(state, std::move(error), effects);
  }
  apply(std::move(effects));
}

void LiveAnswer::deny(Error error) {
  Effects effects;
  {
    const std::lock_guard lock(mutex_);
    if (admission_ != Admission::kPending) return;
    if (has_ended_) {
      end_state_ = StreamState::kFailed;
      failure_ = std::make_unique<const Error>(std::move(error));
      effects.has_news = true;
    } else {
      end(StreamState::kFailed, std::move(error), effects);
    }
    for (Choice& choice : choices_) {
      release(choice.log.ids);
      choice.finish = FinishReason::kNone;
    }
    admission_ = Admission::kRefused;
    settle(effects);
  }
  apply(std::move(effects));
}

void LiveAnswer::interrupt(Error error) {
  Effects effects;
  effects.has_news = true;
  {
    const std::lock_guard lock(mutex_);
    interruption_ = std::make_unique<const Error>(std::move(error));
  }
  apply(std::move(effects));
}

bool LiveAnswer::has_ended() const {
  const std::lock_guard lock(mutex_);
  return has_ended_;
}

bool LiveAnswer::is_decided() const {
  const std::lock_guard lock(mutex_);
  return admission_ != Admission::kPending;
}

bool LiveAnswer::is_admitted() const {
  const std::lock_guard lock(mutex_);
  return admission_ == Admission::kAdmitted;
}

bool LiveAnswer::is_continued() const {
  const std::lock_guard lock(mutex_);
  return is_continued_;
}

std::optional<Congestion> LiveAnswer::waiting() const {
  const std::lock_guard lock(mutex_);
  if (has_ended_) return std::nullopt;
  return ticket_.place();
}

StreamState LiveAnswer::end_state() const {
  const std::lock_guard lock(mutex_);
  return end_state_;
}

Usage LiveAnswer::usage() const {
  const std::lock_guard lock(mutex_);
  return usage_now();
}

Usage LiveAnswer::usage_now() const {
  if (known_usage_) return *known_usage_;
  Usage usage;
  usage.n_prompt_tok = n_prompt_tok_;
  for (const Choice& choice : choices_) {
    usage.n_cached_tok = std::max<std::uint64_t>(usage.n_cached_tok, choice.log.n_cached_tok);
    usage.n_generated_tok += choice.log.ids.size();
    usage.n_reasoning_tok += choice.n_reasoning_tok;
  }
  return usage;
}

AnswerOutcome LiveAnswer::outcome() const {
  const std::lock_guard lock(mutex_);
  AnswerOutcome outcome;
  for (const Choice& choice : choices_) {
    outcome.choices.push_back({.ids = choice.log.ids, .finish = choice.finish});
  }
  outcome.usage = usage_now();
  if (failure_) outcome.error = *failure_;
  outcome.is_continued = is_continued_;
  return outcome;
}

std::vector<GenerationId> LiveAnswer::running_generations() const {
  const std::lock_guard lock(mutex_);
  std::vector<GenerationId> ids;
  for (const Choice& choice : choices_) {
    if (!has_ended_ && !choice.is_finished() && choice.generation) {
      ids.push_back(*choice.generation);
    }
  }
  return ids;
}

void LiveAnswer::add_reader(std::shared_ptr<Signal> news) {
  const std::lock_guard lock(mutex_);
  readers_.push_back(std::move(news));
  ++n_visits_;
}

void LiveAnswer::remove_reader(const std::shared_ptr<Signal>& news) {
  bool is_unread = false;
  std::uint64_t n_visits = 0;
  {
    const std::lock_guard lock(mutex_);
    std::erase(readers_, news);
    is_unread = readers_.empty() && !has_ended_;
    n_visits = n_visits_;
  }
  if (is_unread) keeper_->on_unread(shared_from_this(), n_visits);
}

std::size_t LiveAnswer::n_readers() const {
  const std::lock_guard lock(mutex_);
  return readers_.size();
}

void LiveAnswer::note_unread() {
  std::uint64_t n_visits = 0;
  {
    const std::lock_guard lock(mutex_);
    if (has_ended_ || !readers_.empty()) return;
    n_visits = n_visits_;
  }
  keeper_->on_unread(shared_from_this(), n_visits);
}

Status LiveAnswer::check(const Cursor& cursor) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; has_ended_ && i < choices_.size(); ++i) {
    const std::size_t n_tok = choices_[i].log.ids.size();
    const ChoiceCursor& at = cursor.choices[i];
    const bool is_true_end = choices_[i].is_finished() && at.n_tok == n_tok;
    if (at.n_tok <= n_tok && (!at.has_finished || is_true_end)) continue;
    return Error{.code = Code::kInvalidArgument,
                 .message = concat("the cursor says ", at.n_tok, " tokens of choice ", i,
                                   ", which ended after ", n_tok),
                 .field = "starting_after"};
  }
  return {};
}

AnswerNews LiveAnswer::read(std::span<const std::uint32_t> n_read) const {
  const std::lock_guard lock(mutex_);
  AnswerNews news;
  news.is_readable = admission_ != Admission::kPending || interruption_ != nullptr;
  if (!news.is_readable) return news;
  news.choices.resize(choices_.size());
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const auto& ids = choices_[i].log.ids;
    ChoiceNews& choice = news.choices[i];
    const std::size_t n_new =
        std::min(ids.size() - std::min<std::size_t>(n_read[i], ids.size()), kMaxTokAtOnce);
    if (n_new > 0) {
      const auto from = ids.begin() + n_read[i];
      choice.ids.assign(from, from + static_cast<std::ptrdiff_t>(n_new));
    }
    choice.finish = choices_[i].finish;
    choice.n_tok = static_cast<std::uint32_t>(ids.size());
    choice.at = choices_[i].log.at;
  }
  if (failure_) {
    news.error = *failure_;
  } else if (interruption_ && !has_ended_) {
    news.error = *interruption_;
  }
  return news;
}

}  // namespace deepwell::service
