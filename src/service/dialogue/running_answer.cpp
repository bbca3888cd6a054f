// From tokens to the text of an answer.
#include "service/dialogue/running_answer.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::service {

using engine::FinishReason;
using engine::GenerateRequest;
using engine::TokenId;

RunningAnswer::RunningAnswer(engine::Generator& generator, Executor& home)
    : generator_(generator),
      home_(home),
      tokenizer_(generator.describe().tokenizer),
      news_(std::make_shared<Signal>(home)) {}

Result<std::unique_ptr<Answer>> RunningAnswer::submit(engine::Generator& generator, AnswerPlan plan,
                                                      Executor& home) {
  std::unique_ptr<RunningAnswer> answer(new RunningAnswer(generator, home));
  answer->seed_ = plan.sampling.seed;
  answer->usage_.n_prompt_tok = plan.prompt.size();
  answer->choices_.reserve(plan.n_choices);
  for (std::uint32_t i = 0; i < plan.n_choices; ++i) {
    GenerateRequest request;
    request.prompt = plan.prompt;
    request.sampling = plan.sampling;
    request.sampling.seed = plan.sampling.seed + i;
    request.max_tokens = plan.max_tokens;
    request.ignore_end = plan.ignore_end;
    request.tenant = plan.tenant;
    auto log = std::make_shared<TokenLog>(answer->news_);
    DW_ASSIGN(const auto id, generator.submit(std::move(request), log));
    std::optional<ReasoningSplitter> splitter;
    if (plan.reasoning) splitter.emplace(plan.is_thought_open, *plan.reasoning);
    answer->choices_.push_back(Choice{.id = id,
                                      .log = std::move(log),
                                      .decoder = engine::StreamDecoder(*answer->tokenizer_),
                                      .splitter = std::move(splitter),
                                      .stop = StopMatcher(plan.stop)});
  }
  return std::unique_ptr<Answer>(std::move(answer));
}

RunningAnswer::~RunningAnswer() {
  for (const Choice& choice : choices_) {
    if (!choice.is_finished) generator_.cancel(choice.id);
  }
}

bool RunningAnswer::is_finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const Choice& choice) { return choice.is_finished; });
}

Task<Result<std::vector<AnswerDelta>>> RunningAnswer::next(SteadyTime deadline,
                                                           CancelToken cancel) {
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

Result<std::vector<AnswerDelta>> RunningAnswer::collect() {
  std::vector<AnswerDelta> deltas;
  for (std::uint32_t i = 0; i < choices_.size(); ++i) {
    if (!choices_[i].is_finished) DW_TRY(advance(i, deltas));
  }
  return deltas;
}

Status RunningAnswer::advance(std::uint32_t index, std::vector<AnswerDelta>& deltas) {
  Choice& choice = choices_[index];
  TokenLog::Tail tail = choice.log->read(choice.n_read_tok);
  usage_.n_cached_tok = std::max<std::uint64_t>(usage_.n_cached_tok, tail.n_cached_tok);

  AnswerDelta delta;
  delta.choice = index;
  delta.at = tail.at;
  for (const TokenId id : tail.ids) {
    push_token(choice, id, delta);
    if (choice.stop.is_matched()) break;
  }
  if (choice.stop.is_matched()) {
    delta.finish = FinishReason::kStop;
    if (!tail.is_last()) generator_.cancel(choice.id);
  } else if (tail.finish != FinishReason::kNone) {
    flush(choice, delta);
    delta.finish = choice.stop.is_matched() ? FinishReason::kStop : tail.finish;
  } else if (tail.error && tail.ids.empty()) {
    choice.is_finished = true;  // the engine has ended it: nothing to cancel
    return std::move(*tail.error);
  }
  choice.is_finished = delta.finish != FinishReason::kNone;
  if (delta.n_tok > 0 || choice.is_finished) deltas.push_back(std::move(delta));
  return {};
}

void RunningAnswer::push_token(Choice& choice, TokenId id, AnswerDelta& delta) {
  ++choice.n_read_tok;
  ++delta.n_tok;
  ++usage_.n_generated_tok;
  if (choice.splitter && choice.splitter->is_thinking()) ++usage_.n_reasoning_tok;
  push_text(choice, choice.decoder.push(id), delta);
}

void RunningAnswer::push_text(Choice& choice, std::string_view text, AnswerDelta& delta) {
  if (!choice.splitter) {
    delta.content += choice.stop.push(text);
    return;
  }
  const auto parts = choice.splitter->push(text);
  delta.reasoning += parts.reasoning;
  delta.content += choice.stop.push(parts.content);
}

void RunningAnswer::flush(Choice& choice, AnswerDelta& delta) {
  push_text(choice, choice.decoder.finish(), delta);
  if (choice.splitter) {
    const auto rest = choice.splitter->finish();
    delta.reasoning += rest.reasoning;
    delta.content += choice.stop.push(rest.content);
  }
  delta.content += choice.stop.finish();
}

}  // namespace deepwell::service
