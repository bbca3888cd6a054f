// What is owed, what was kept, and how it is told.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/columns.hpp"
#include "apps/drill_run.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

using json = nlohmann::ordered_json;

constexpr double kNever = 1e9;  // ms: it did not happen

double longest_ms(const std::vector<Strike>& strikes,
                  const std::function<std::optional<SteadyTime>(const Strike&)>& end,
                  const std::function<SteadyTime(const Strike&)>& begin) {
  double longest = 0;
  for (const Strike& strike : strikes) {
    const std::optional<SteadyTime> at = end(strike);
    longest = std::max(longest, at ? to_ms(*at - begin(strike)) : kNever);
  }
  return longest;
}

SteadyTime deed_end(const Strike& strike) {
  return strike.is_lasting ? strike.undone.value_or(strike.at) : strike.at;
}

double detection_ms(const std::vector<Strike>& strikes) {
  return longest_ms(
      strikes, [](const Strike& strike) { return strike.noticed; },
      [](const Strike& strike) { return strike.at; });
}

double recovery_ms(const std::vector<Strike>& strikes) {
  return longest_ms(
      strikes, [](const Strike& strike) { return strike.recovered; }, deed_end);
}

// How many that were there before are not there any more.
double n_gone(std::string_view kind, const SystemView& before, const SystemView& after) {
  const std::vector<ProcessView> were = before.ready(kind);
  return static_cast<double>(std::count_if(
      were.begin(), were.end(),
      [&](const ProcessView& process) { return after.find(kind, process.epoch) == nullptr; }));
}

std::string number_text(double value) {
  if (value >= kNever) return "-";
  return format_fixed(value,
                      value == static_cast<double>(static_cast<std::int64_t>(value)) ? 0 : 1);
}

json number_json(double value) { return value >= kNever ? json() : json(value); }

class Judge {
 public:
  explicit Judge(std::vector<DrillCheck>& checks) : checks_(checks) {}

  void at_most(Text what, std::string word, double value, double limit) {
    checks_.push_back({what, std::move(word), value, limit, value <= limit});
  }
  void at_least_one(Text what, std::string word, double value) {
    checks_.push_back({what, std::move(word), value, 1, value >= 1});
  }

 private:
  std::vector<DrillCheck>& checks_;
};

}  // namespace

void judge_drill(const Drill& drill, const Scene& scene, const SystemView& after,
                 DrillReport& report) {
  const DrillLimits limits = drill.limits(scene);
  const LoadAccount& account = report.account;
  const auto count = [](std::uint64_t n) { return static_cast<double>(n); };
  std::uint64_t n_hit = 0;
  for (const Strike& strike : report.strikes) n_hit += strike.n_hit;
  Judge judge(report.checks);
  // A deed that hits nobody proves nothing.
  judge.at_least_one({"streams hit", "受影响的流"}, "hit", count(n_hit));
  judge.at_most({"answers failed", "失败的回答"}, "failed", count(account.n_failed()), 0);
  judge.at_most({"answers different", "不一致的回答"}, "different", count(account.n_different()),
                0);
  judge.at_most({"tokens lost", "丢失的词元"}, "lost_tokens", count(account.n_lost_tok()), 0);
  judge.at_most({"events twice", "重复的事件"}, "duplicated_events", count(account.n_duplicates()),
                0);
  judge.at_most({"answers continued inexactly", "续写不精确的回答"}, "continued",
                count(account.n_continued()), 0);
  if (limits.resumability == Resumability::kMustGo) {
    judge.at_least_one({"answers marked not resumable", "标记为不可续接的回答"}, "unresumable",
                       count(account.n_unresumable()));
  } else if (limits.resumability == Resumability::kKept) {
    judge.at_most({"answers not resumable", "不可续接的回答"}, "unresumable",
                  count(account.n_unresumable()), 0);
  }
  const double asked_ms = scene.options.pause_limit_ms;
  const double pause_limit_ms = asked_ms > 0 ? asked_ms : limits.pause_p99_ms;
  if (pause_limit_ms > 0) {
    judge.at_most({"pause p99 of the streams that ran then, ms", "当时在途流的停顿 p99，毫秒"},
                  "pause_p99_ms", report.struck_pause_ms.p99, pause_limit_ms);
  }
  if (drill.is_noticed != nullptr) {
    judge.at_most({"detection, ms", "发现用时，毫秒"}, "detection_ms", detection_ms(report.strikes),
                  limits.detection_ms > 0 ? limits.detection_ms : kNever / 2);
  }
  judge.at_most({"recovery, ms", "恢复用时，毫秒"}, "recovery_ms", recovery_ms(report.strikes),
                limits.recovery_ms > 0 ? limits.recovery_ms : kNever / 2);
  if (!limits.may_restart_workers) {
    judge.at_most({"workers restarted", "被重启的工作进程"}, "workers_restarted",
                  n_gone("worker", scene.before, after), 0);
  }
  if (!limits.may_restart_front) {
    judge.at_most({"fronts restarted", "被重启的前端"}, "fronts_restarted",
                  n_gone("front", scene.before, after), 0);
  }
}

bool DrillReport::is_passed() const {
  return !checks.empty() && std::all_of(checks.begin(), checks.end(),
                                        [](const DrillCheck& check) { return check.is_kept; });
}

Status DrillReport::outcome() const {
  if (is_passed()) return {};
  std::string broken;
  for (const DrillCheck& check : checks) {
    if (check.is_kept) continue;
    const std::string_view relation = check.value > check.limit ? "at most " : "at least ";
    broken += concat(broken.empty() ? "" : ", ", check.what.en, ": ",
                     check.value >= kNever ? std::string("it did not come to it")
                                           : concat(number_text(check.value), " (", relation,
                                                    number_text(check.limit), ")"));
  }
  return data_loss(concat("the drill ", name, " failed: ", broken));
}

json DrillReport::to_json() const {
  json body;
  body["drill"] = name;
  body["passed"] = is_passed();
  body["checks"] = json::array();
  for (const DrillCheck& check : checks) {
    body["checks"].push_back(
        {{"what", check.word},
         {"value", number_json(check.value)},
         {"limit", number_json(check.limit >= kNever / 2 ? kNever : check.limit)},
         {"kept", check.is_kept}});
  }
  body["strikes"] = json::array();
  for (const Strike& strike : strikes) {
    const auto since = [&strike](const std::optional<SteadyTime>& time, SteadyTime from) {
      return time ? json(to_ms(*time - from)) : json();
    };
    body["strikes"].push_back({{"what", strike.what},
                               {"hit", strike.n_hit},
                               {"detection_ms", since(strike.noticed, strike.at)},
                               {"recovery_ms", since(strike.recovered, deed_end(strike))}});
  }
  body["streams_that_ran"] = n_struck;
  body["pause_of_those_ms"] = {
      {"p50", struck_pause_ms.p50}, {"p99", struck_pause_ms.p99}, {"max", struck_pause_ms.max}};
  body["load"] = account.to_json();
  return body;
}

std::string DrillReport::to_text(Language language) const {
  std::string text;
  for (const Strike& strike : strikes) text += concat(strike.what, "\n");
  std::vector<std::vector<std::string>> rows = account.rows(language);
  for (std::vector<std::string>& row : rows) row.insert(row.end(), 2, "");
  for (const DrillCheck& check : checks) {
    const bool has_limit = check.limit < kNever / 2;
    const bool is_floor = check.word == "hit" || (check.word == "unresumable" && check.limit > 0);
    rows.push_back(
        {std::string(check.what.in(language)), number_text(check.value),
         has_limit ? concat(is_floor ? "≥ " : "≤ ", number_text(check.limit)) : std::string(),
         std::string(check.is_kept ? Text{"ok", "通过"}.in(language)
                                   : Text{"FAILED", "未通过"}.in(language))});
  }
  text += format_columns(rows);
  for (const std::string& problem : account.problems()) text += concat(problem, "\n");
  const Text verdict = is_passed() ? Text{"passed", "演练通过"} : Text{"FAILED", "演练未通过"};
  return concat(text, name, ": ", verdict.in(language), "\n");
}

}  // namespace deepwell::apps
