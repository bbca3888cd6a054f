// From the tokens that are new to a reader to the text that is.
#include "service/dialogue/answer_reader.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::service {

using engine::FinishReason;

AnswerReader::AnswerReader(std::shared_ptr<LiveAnswer> answer, const Cursor& from, Executor& home,
                           std::shared_ptr<std::atomic<std::uint32_t>> n_readers)
    : answer_(std::move(answer)),
      home_(home),
      news_(std::make_shared<Signal>(home)),
      n_read_tok_(answer_->info().n_choices),
      n_readers_(std::move(n_readers)) {
  DW_CHECK(from.choices.size() == n_read_tok_.size(), "a cursor for another number of choices");
  choices_.reserve(n_read_tok_.size());
  for (const ChoiceCursor& cursor : from.choices) {
    choices_.push_back({.pipeline = TextPipeline(answer_->tokenizer(), answer_->plan()),
                        .n_skip_tok = cursor.n_tok,
                        .is_finished = cursor.has_finished});
  }
  answer_->add_reader(news_);
  ++*n_readers_;
}

AnswerReader::~AnswerReader() {
  --*n_readers_;
  answer_->remove_reader(news_);
}

bool AnswerReader::is_finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const Choice& choice) { return choice.is_finished; });
}

void AnswerReader::stop() {
  answer_->fail(Error{.code = Code::kCancelled,
                      .message = "the answer was stopped on request",
                      .reason = std::string(kReasonStopped)},
                StreamState::kAbandoned);
}

Task<Result<std::vector<AnswerDelta>>> AnswerReader::next(SteadyTime deadline, CancelToken cancel) {
  Result<std::vector<AnswerDelta>> deltas = collect();
  if (!deltas || !deltas->empty()) co_return deltas;  // no timer, no callback on the fast path

  auto wake = [news = news_] { news->notify(); };
  const CancelCallback<decltype(wake)> on_cancel(cancel, wake);
  const TimerId timer = home_.post_at(deadline, wake);
  while (deltas && deltas->empty()) {
    if (cancel.stop_requested()) {
      deltas = Error{.code = Code::kCancelled, .message = "the answer was cancelled"};
    } else if (std::chrono::steady_clock::now() >= deadline) {
      deltas = Error{.code = Code::kDeadlineExceeded, .message = "nothing new until the deadline"};
    } else {
      co_await news_->wait();
      deltas = collect();
    }
  }
  home_.cancel_timer(timer);
  co_return deltas;
}

Result<std::vector<AnswerDelta>> AnswerReader::collect() {
  for (;;) {
    AnswerNews news = answer_->read(n_read_tok_);
    std::vector<AnswerDelta> deltas;
    if (!news.is_readable) return deltas;
    bool has_more = false;  // what lies before the cursor gives no delta
    for (std::uint32_t i = 0; i < choices_.size(); ++i) {
      if (choices_[i].is_finished) continue;
      has_more = has_more || !news.choices[i].ids.empty();
      DW_TRY(advance(i, news.choices[i], deltas));
    }
    if (!deltas.empty()) return deltas;
    if (!has_more && news.error) return std::move(*news.error);
    if (!has_more) return deltas;
  }
}

Status AnswerReader::advance(std::uint32_t index, const ChoiceNews& news,
                             std::vector<AnswerDelta>& deltas) {
  Choice& choice = choices_[index];
  std::uint32_t& n_read = n_read_tok_[index];
  AnswerDelta delta{.choice = index, .at = news.at};
  for (const engine::TokenId id : news.ids) {
    choice.pipeline.push(id, delta.reasoning, delta.content);
    if (n_read++ < choice.n_skip_tok) {
      delta.reasoning.clear();
      delta.content.clear();
    } else {
      ++delta.n_tok;
    }
  }
  delta.position = n_read;
  const bool has_ended = news.finish != FinishReason::kNone && n_read == news.n_tok;
  if (has_ended && n_read < choice.n_skip_tok) {
    return Error{.code = Code::kInvalidArgument,
                 .message = concat("the cursor ", choice.n_skip_tok, " of choice ", index,
                                   " lies beyond its end at ", n_read),
                 .field = "starting_after"};
  }
  const SteadyTime at = delta.at;
  if (delta.n_tok > 0) deltas.push_back(std::move(delta));
  if (!has_ended) return {};
  AnswerDelta last{.choice = index, .finish = news.finish, .position = n_read, .at = at};
  if (!choice.pipeline.is_stopped()) choice.pipeline.finish(last.reasoning, last.content);
  choice.is_finished = true;
  deltas.push_back(std::move(last));
  return {};
}

}  // namespace deepwell::service
