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

void LoadAccount::add(const LoadResult& result, const LoadVerdict& verdict) {
  ++n_;
  ++ends_[result.end];
  ++statuses_[result.status];
  const LoadAnswer& answer = result.answer;
  n_tok_ += answer.n_completion_tok != 0 ? answer.n_completion_tok : result.n_token_events;
  n_duplicates_ += result.n_duplicates;
  n_broken_ += result.n_breaks > 0 ? 1 : 0;
  n_reattached_ += result.n_reattached;
  n_resent_ += result.n_resent;
  n_continued_ += answer.is_continued ? 1 : 0;
  n_unresumable_ += answer.is_resumable ? 0 : 1;
  n_lost_tok_ += verdict.n_lost_tok;
  if (result.time_to_first_token.count() >= 0) {
    ttft_ms_.push_back(to_ms(result.time_to_first_token));
  }
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
  body["tokens_per_s"] = duration_s_ > 0 ? static_cast<double>(n_tok_) / duration_s_ : 0.0;
  body["ttft_ms"] = apps::to_json(time_to_first_token_ms());
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
  const double rate = duration_s_ > 0 ? static_cast<double>(n_tok_) / duration_s_ : 0.0;
  return {
      {name({"answers", "回答"}), concat(n_, ": ", ends)},
      {name({"HTTP status", "HTTP 状态"}), statuses},
      {name({"different", "内容不一致"}), concat(n_different_)},
      {name({"lost tokens", "丢失的词元"}), concat(n_lost_tok_)},
      {name({"events twice", "重复的事件"}), concat(n_duplicates_)},
      {name({"broken connections", "断开的连接"}),
       concat(n_broken_, " (", n_reattached_, " ", name({"re-attached", "次续接"}), ", ", n_resent_,
              " ", name({"asked again", "次重发"}), ")")},
      {name({"first token, ms", "首词元，毫秒"}), text_of(time_to_first_token_ms())},
      {name({"longest gap, ms", "最长间隔，毫秒"}), text_of(gap_ms())},
      {name({"pause, ms", "停顿，毫秒"}),
       concat(text_of(pause_ms()), "   ", name({"(undisturbed", "（无干扰时"}), " ",
              format_fixed(undisturbed_ms_ + pace_ms_, 1), name({")", "）"}))},
      {name({"whole answer, ms", "完整回答，毫秒"}), text_of(percentiles(duration_ms_))},
      {name({"tokens per second", "每秒词元"}), format_fixed(rate, 1)},
  };
}

}  // namespace deepwell::apps
