// Questions, references and the comparison.
#include "apps/load_check.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

// Characters of the content and reasoning that the second answer lacks, in the measure of tokens.
std::uint64_t n_lost_tok(const LoadAnswer& whole, const LoadAnswer& got) {
  std::uint64_t n_whole_bytes = 0;
  std::uint64_t n_got_bytes = 0;
  for (const LoadChoice& choice : whole.choices) {
    n_whole_bytes += choice.reasoning.size() + choice.content.size();
  }
  for (const LoadChoice& choice : got.choices) {
    n_got_bytes += choice.reasoning.size() + choice.content.size();
  }
  if (n_whole_bytes <= n_got_bytes) return 0;
  const std::uint64_t n_lost_bytes = n_whole_bytes - n_got_bytes;
  const double tok_per_byte =
      static_cast<double>(whole.n_completion_tok) / static_cast<double>(n_whole_bytes);
  return std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(static_cast<double>(n_lost_bytes) * tok_per_byte + 0.5));
}

}  // namespace

LoadPlan CheckedLoad::make_plan() const {
  LoadPlan plan;
  plan.target = options_.target;
  plan.n_streams = options_.n_streams;
  plan.answer_limit = options_.answer_limit;
  plan.body = [this](std::uint64_t number) {
    if (number != LoadPlan::kAmid) return question_body(options_.questions, number);
    LoadQuestions questions = options_.questions;
    questions.n_distinct = 0;  // it has no beginning in common with any other
    return question_body(questions, number, options_.n_amid_tok);
  };
  return plan;
}

Status CheckedLoad::ask_undisturbed() {
  if (options_.questions.n_distinct == 0) {
    return invalid_argument("answers can be compared only if --distinct says how many there are");
  }
  references_.assign(options_.questions.n_distinct, {});
  LoadAccount account(options_.pace_ms, 0);
  LoadPlan plan = make_plan();
  plan.n_total = std::max(options_.questions.n_distinct, options_.n_streams);
  std::vector<LoadResult> repeated;
  plan.on_result = [&](LoadResult&& result) {
    account.add(result, {});
    std::optional<LoadAnswer>& reference = references_[result.number % references_.size()];
    const bool is_first = result.number < references_.size();
    if (is_first) reference = std::move(result.answer);
    if (!is_first) repeated.push_back(std::move(result));
  };
  DW_TRY(run_load(plan));
  if (account.n_failed() + account.n_duplicates() > 0) {
    return Error{Code::kFailedPrecondition,
                 concat("the undisturbed server does not answer every request: ",
                        account.problems().front())};
  }
  for (const LoadResult& result : repeated) {
    const std::string difference = judge(result).difference;
    if (difference.empty()) continue;
    return Error{Code::kFailedPrecondition,
                 concat("the undisturbed server gives two answers to one request with a seed (",
                        difference, "), so nothing can be compared")};
  }
  undisturbed_excess_ms_ = account.excess_p99_ms();
  undisturbed_ttft_ms_ = account.time_to_first_token_ms().p99;
  return {};
}

LoadVerdict CheckedLoad::judge(const LoadResult& result) const {
  if (references_.empty() || result.number == LoadPlan::kAmid || result.end == LoadEnd::kRefused ||
      result.end == LoadEnd::kLeft) {
    return {};
  }
  const std::optional<LoadAnswer>& reference = references_[result.number % references_.size()];
  LoadVerdict verdict;
  verdict.difference = reference->difference(result.answer);
  verdict.n_lost_tok = n_lost_tok(*reference, result.answer);
  return verdict;
}

Result<LoadAccount> CheckedLoad::run(const Hooks& hooks) {
  const bool has_amid = options_.n_amid_tok > 0;
  LoadAccount account(options_.pace_ms, undisturbed_excess_ms_, has_amid);
  LoadPlan plan = make_plan();
  if (has_amid) plan.amid_after = options_.amid_after;
  plan.n_total = options_.n_total;
  plan.rate_per_s = options_.rate_per_s;
  plan.use_reattach = options_.use_reattach;
  plan.is_over = hooks.is_over;
  plan.is_cancelled = hooks.is_cancelled;
  plan.on_change = hooks.on_change;
  plan.on_result = [&](LoadResult&& result) {
    LoadVerdict verdict = judge(result);
    verdict.is_long = options_.questions.is_long(result.number);
    account.add(result, verdict);
    if (hooks.on_result) hooks.on_result(result, verdict);
  };
  const auto began = std::chrono::steady_clock::now();
  DW_TRY(run_load(plan));
  account.set_duration(std::chrono::steady_clock::now() - began);
  return account;
}

}  // namespace deepwell::apps
