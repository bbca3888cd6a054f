// Sums, percentiles and how they are shown.
#include "apps/load_account.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

using json = nlohmann::ordered_json;

json to_json(const Percentiles& values) {
  return {{"p50", values.p50}, {"p99", values.p99}, {"max", values.max}};
}

std::string text_of(const Percentiles& values) {
  return concat("p50 ", format_fixed(values.p50, 1), "   p99 ", format_fixed(values.p99, 1),
                "   max ", format_fixed(values.max, 1));
}

}  // namespace

double to_ms(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

Percentiles percentiles(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto rank = [&values](double share) {
    const auto n = static_cast<double>(values.size());
    return values[static_cast<std::size_t>(std::max(1.0, std::ceil(share * n))) - 1];
  };
  return {rank(0.50), rank(0.99), values.back()};
}

Percentiles percentiles_ms(const LogHistogram& gaps) {
  return {gaps.percentile_us(0.50) / 1000, gaps.percentile_us(0.99) / 1000, gaps.max_us() / 1000};
}

void LoadAccount::add_times(const LoadResult& result, bool is_long) {
  if (result.number == LoadPlan::kAmid) {
    amid_ = result;
    return;
  }
  if (result.time_to_first_token.count() >= 0) {
    (is_long ? long_ttft_ms_ : ttft_ms_).push_back(to_ms(result.time_to_first_token));
  }
  for (const std::uint32_t gap_us : result.gaps_us) gaps_.add(gap_us);
  if (result.end == LoadEnd::kDone) {
    if (clients_.size() <= result.client) clients_.resize(result.client + 1);
    ++clients_[result.client].n;
    clients_[result.client].busy_ms += to_ms(result.ended - result.due);
  }
  if (!has_amid_ || result.time_to_first_token.count() < 0) return;
  SteadyTime at = result.due + result.time_to_first_token;
  first_token_at_.push_back(at);
  for (const std::uint32_t gap_us : result.gaps_us) {
    const SteadyTime began = at;
    at += std::chrono::microseconds(gap_us);
    timed_gaps_.push_back({began, at});
  }
}

ClientTimes LoadAccount::client_times() const {
  std::vector<double> means_ms;
  for (const ClientSum& client : clients_) {
    if (client.n > 0) means_ms.push_back(client.busy_ms / static_cast<double>(client.n));
  }
  const Percentiles found = percentiles(std::move(means_ms));
  return {found.p50, found.max};
}

std::optional<AmidTimes> LoadAccount::amid_times() const {
  if (!amid_ || amid_->time_to_first_token.count() < 0) return std::nullopt;
  const SteadyTime began = amid_->due;
  const SteadyTime ended = began + amid_->time_to_first_token;
  SteadyTime settled{};
  for (const SteadyTime at : first_token_at_) {
    if (at <= began) settled = std::max(settled, at);
  }
  LogHistogram before;
  LogHistogram during;
  for (const TimedGap& gap : timed_gaps_) {
    const double us = 1000 * to_ms(gap.ended - gap.began);
    if (gap.began >= settled && gap.ended <= began) before.add(us);
    if (gap.ended > began && gap.began < ended) during.add(us);
  }
  return AmidTimes{to_ms(amid_->time_to_first_token), percentiles_ms(before),
                   percentiles_ms(during)};
}

void LoadAccount::add(const LoadResult& result, const LoadVerdict& verdict) {
  ++n_;
  ++ends_[result.end];
  ++statuses_[result.status];
  const LoadAnswer& answer = result.answer;
  n_tok_ += answer.n_completion_tok != 0 ? answer.n_completion_tok : result.n_token_events;
  n_prompt_tok_ += answer.n_prompt_tok;
  n_cached_tok_ += answer.n_cached_tok;
  add_times(result, verdict.is_long);
  n_duplicates_ += result.n_duplicates;
  n_broken_ += result.n_breaks > 0 ? 1 : 0;
  n_reattached_ += result.n_reattached;
  n_resent_ += result.n_resent;
  n_continued_ += answer.is_continued ? 1 : 0;
  n_unresumable_ += answer.is_resumable ? 0 : 1;
  n_lost_tok_ += verdict.n_lost_tok;
  if (result.n_token_events > 1) {
    const double gap_ms = to_ms(result.longest_gap);
    gap_ms_.push_back(gap_ms);
    excess_ms_.push_back(std::max(0.0, gap_ms - pace_ms_));
    pause_ms_.push_back(std::max(0.0, gap_ms - pace_ms_ - undisturbed_ms_));
  }
  const double duration_ms = to_ms(result.ended - result.due);
  if (result.end == LoadEnd::kDone) duration_ms_.push_back(duration_ms);
  if (result.end == LoadEnd::kRefused) {
    refusal_ms_.push_back(duration_ms);
    if (result.status == 429 || result.status == 503) ++n_overload_;
  }
  const bool is_failed = result.end != LoadEnd::kDone && result.end != LoadEnd::kLeft;
  if (is_failed) {
    note_problem(result, concat(load_end_name(result.end), ": ", result.message));
  } else if (!verdict.difference.empty()) {
    ++n_different_;
    note_problem(result, verdict.difference);
  } else if (result.n_duplicates > 0) {
    note_problem(result, concat(result.n_duplicates, " events came twice"));
  }
}

void LoadAccount::note_problem(const LoadResult& result, const std::string& what) {
  if (problems_.size() >= kMaxProblems) return;
  const std::string& id = result.answer.id;
  problems_.push_back(concat("request ", result.number, id.empty() ? "" : " (", id,
                             id.empty() ? ": " : "): ", what));
}

std::uint64_t LoadAccount::n_ended_as(LoadEnd end) const {
  const auto found = ends_.find(end);
  return found == ends_.end() ? 0 : found->second;
}

std::uint64_t LoadAccount::n_failed() const {
  return n_ - n_ended_as(LoadEnd::kDone) - n_ended_as(LoadEnd::kLeft);
}

Status LoadAccount::outcome() const {
  const std::uint64_t n_cut = n_ended_as(LoadEnd::kCut);
  const std::string counts = concat(n_failed(), " of ", n_, " answers failed (", n_cut, " cut, ",
                                    n_ended_as(LoadEnd::kRefused), " refused), ", n_different_,
                                    " differed, ", n_duplicates_, " events came twice");
  if (n_cut + n_different_ + n_duplicates_ > 0) return data_loss(counts);
  if (n_failed() == 0) return {};
  if (n_failed() == n_overload_) return Error{Code::kResourceExhausted, counts};
  return unavailable(counts);
}

json LoadAccount::to_json() const {
  json ends = json::object();
  for (const auto& [end, n] : ends_) ends[std::string(load_end_name(end))] = n;
  json statuses = json::object();
  for (const auto& [status, n] : statuses_) statuses[std::to_string(status)] = n;
  json body;
  body["requests"] = n_;
  body["seconds"] = duration_s_;
  body["ends"] = std::move(ends);
  body["statuses"] = std::move(statuses);
  body["failed"] = n_failed();
  body["different"] = n_different_;
  body["lost_tokens"] = n_lost_tok_;
  body["duplicated_events"] = n_duplicates_;
  body["broken_connections"] = n_broken_;
  body["reattached"] = n_reattached_;
  body["resent"] = n_resent_;
  body["continued"] = n_continued_;
  body["unresumable"] = n_unresumable_;
  body["tokens"] = n_tok_;
  body["tokens_per_s"] = tok_per_s();
  body["prompt_tokens"] = n_prompt_tok_;
  body["cached_tokens"] = n_cached_tok_;
  body["ttft_ms"] = apps::to_json(time_to_first_token_ms());
  if (!long_ttft_ms_.empty()) body["long_ttft_ms"] = apps::to_json(long_ttft_ms());
  body["inter_token_ms"] = apps::to_json(inter_token_ms());
  const ClientTimes times = client_times();
  body["client_ms"] = {{"median", times.median_ms}, {"worst", times.worst_ms}};
  if (const auto amid = amid_times()) {
    body["amid"] = {{"ttft_ms", amid->ttft_ms},
                    {"before_ms", apps::to_json(amid->before_ms)},
                    {"during_ms", apps::to_json(amid->during_ms)}};
  }
  body["longest_gap_ms"] = apps::to_json(gap_ms());
  body["pause_ms"] = apps::to_json(pause_ms());
  body["duration_ms"] = apps::to_json(percentiles(duration_ms_));
  body["refusal_ms"] = apps::to_json(percentiles(refusal_ms_));
  body["pace_ms"] = pace_ms_;
  body["undisturbed_p99_ms"] = undisturbed_ms_;
  body["problems"] = problems_;
  return body;
}

std::vector<std::vector<std::string>> LoadAccount::rows(Language language) const {
  const auto name = [language](Text text) { return std::string(text.in(language)); };
  std::string ends;
  for (const auto& [end, n] : ends_) {
    ends += concat(ends.empty() ? "" : ", ", n, " ", load_end_name(end));
  }
  std::string statuses;
  for (const auto& [status, n] : statuses_) {
    statuses += concat(statuses.empty() ? "" : ", ", n, " × ", status);
  }
  std::vector<std::vector<std::string>> rows = {
      {name({"answers", "回答"}), concat(n_, ": ", ends)},
      {name({"HTTP status", "HTTP 状态"}), statuses},
      {name({"different", "内容不一致"}), concat(n_different_)},
      {name({"lost tokens", "丢失的词元"}), concat(n_lost_tok_)},
      {name({"events twice", "重复的事件"}), concat(n_duplicates_)},
      {name({"broken connections", "断开的连接"}),
       concat(n_broken_, " (", n_reattached_, " ", name({"re-attached", "次续接"}), ", ", n_resent_,
              " ", name({"asked again", "次重发"}), ")")},
      {name({"first token, ms", "首词元，毫秒"}), text_of(time_to_first_token_ms())},
      {name({"between tokens, ms", "词元间隔，毫秒"}), text_of(inter_token_ms())},
      {name({"longest gap, ms", "最长间隔，毫秒"}), text_of(gap_ms())},
      {name({"pause, ms", "停顿，毫秒"}),
       concat(text_of(pause_ms()), "   ", name({"(undisturbed", "（无干扰时"}), " ",
              format_fixed(undisturbed_ms_ + pace_ms_, 1), name({")", "）"}))},
      {name({"whole answer, ms", "完整回答，毫秒"}), text_of(percentiles(duration_ms_))},
      {name({"a client's answer, ms", "每客户端回答，毫秒"}),
       concat(name({"median", "中位"}), " ", format_fixed(client_times().median_ms, 1), "   ",
              name({"worst", "最差"}), " ", format_fixed(client_times().worst_ms, 1))},
      {name({"prompt tokens", "提示词元"}),
       concat(n_prompt_tok_, " (", n_cached_tok_, " ", name({"cached", "来自缓存"}), ")")},
      {name({"tokens per second", "每秒词元"}), format_fixed(tok_per_s(), 1)},
  };
  if (!long_ttft_ms_.empty()) {
    rows.push_back(
        {name({"long prompts' first token, ms", "长提示首词元，毫秒"}), text_of(long_ttft_ms())});
  }
  if (const auto amid = amid_times()) {
    rows.push_back({name({"first token of the one amid, ms", "插入请求的首词元，毫秒"}),
                    format_fixed(amid->ttft_ms, 1)});
    rows.push_back(
        {name({"between tokens before, ms", "此前词元间隔，毫秒"}), text_of(amid->before_ms)});
    rows.push_back(
        {name({"between tokens meanwhile, ms", "其间词元间隔，毫秒"}), text_of(amid->during_ms)});
  }
  return rows;
}

}  // namespace deepwell::apps
