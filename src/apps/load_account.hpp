// LoadAccount: what a load's results add up to.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/load_client.hpp"
#include "apps/log_histogram.hpp"
#include "base/text.hpp"

namespace deepwell::apps {

/// By nearest rank: a value that was really measured.
struct Percentiles {
  double p50 = 0;
  double p99 = 0;
  double max = 0;
};
/// All zero without values.
Percentiles percentiles(std::vector<double> values);
Percentiles percentiles_ms(const LogHistogram& gaps);

double to_ms(std::chrono::nanoseconds duration);

/// What is known about an answer beside its result.
struct LoadVerdict {
  std::string
      difference;  // from the answer to the same request undisturbed; empty: equal, or not compared
  std::uint64_t n_lost_tok = 0;  // of that answer, that this one lacks
  bool is_long = false;          // its prompt is one of the long ones
};

/// What the clients, each of whom asks one question after another, had of it.
struct ClientTimes {
  double median_ms = 0;  // of the clients' mean times of an answer
  double worst_ms = 0;
};

/// One request that came amid others, and how those fared.
struct AmidTimes {
  double ttft_ms = 0;  // its own
  // Between two token events of the others: since all of them had begun, and while it waited for its first token.
  Percentiles before_ms;
  Percentiles during_ms;
};

/// Keeps numbers, not texts: it may add up millions.
class LoadAccount {
 public:
  static constexpr std::size_t kMaxProblems = 20;

  /// `pace_ms` is what the source waits between two tokens, `undisturbed_ms` the p99 over undisturbed streams of
  /// their longest gap less the pace: a stream's pause is its longest gap less both.
  LoadAccount(double pace_ms, double undisturbed_ms, bool has_amid = false)
      : pace_ms_(pace_ms), undisturbed_ms_(undisturbed_ms), has_amid_(has_amid) {}

  void add(const LoadResult& result, const LoadVerdict& verdict);
  /// How long the whole took, for the rates.
  void set_duration(std::chrono::nanoseconds duration) { duration_s_ = to_ms(duration) / 1000.0; }

  std::uint64_t n() const { return n_; }
  std::uint64_t n_ended_as(LoadEnd end) const;
  /// Neither done nor left as planned.
  std::uint64_t n_failed() const;
  std::uint64_t n_different() const { return n_different_; }
  std::uint64_t n_duplicates() const { return n_duplicates_; }
  std::uint64_t n_lost_tok() const { return n_lost_tok_; }
  std::uint64_t n_broken() const { return n_broken_; }
  std::uint64_t n_continued() const { return n_continued_; }
  std::uint64_t n_unresumable() const { return n_unresumable_; }
  Percentiles time_to_first_token_ms() const { return percentiles(ttft_ms_); }
  /// Without those of the long prompts, and those of these alone.
  Percentiles long_ttft_ms() const { return percentiles(long_ttft_ms_); }
  /// Between two events that carry tokens, over all answers.
  Percentiles inter_token_ms() const { return percentiles_ms(gaps_); }
  double tok_per_s() const {
    return duration_s_ > 0 ? static_cast<double>(n_tok_) / duration_s_ : 0;
  }
  ClientTimes client_times() const;
  /// None if no request came amid others.
  std::optional<AmidTimes> amid_times() const;
  Percentiles gap_ms() const { return percentiles(gap_ms_); }
  Percentiles pause_ms() const { return percentiles(pause_ms_); }
  /// The p99 over the streams of the longest gap less the pace.
  double excess_p99_ms() const { return percentiles(excess_ms_).p99; }
  /// "request 17: cut: ..." of the first ones.
  const std::vector<std::string>& problems() const { return problems_; }

  /// Success if every answer came whole, once and equal. Errors: kDataLoss (cut, differing, doubled),
  /// kUnavailable (failed), kResourceExhausted (nothing worse than refusals for overload).
  Status outcome() const;

  nlohmann::ordered_json to_json() const;
  /// Rows for format_columns: name and value.
  std::vector<std::vector<std::string>> rows(Language language) const;

 private:
  struct ClientSum {
    std::uint64_t n = 0;
    double busy_ms = 0;
  };
  struct TimedGap {
    SteadyTime began;
    SteadyTime ended;
  };

  void add_times(const LoadResult& result, bool is_long);
  void note_problem(const LoadResult& result, const std::string& what);

  double pace_ms_;
  double undisturbed_ms_;
  double duration_s_ = 0;
  std::uint64_t n_ = 0;
  std::map<LoadEnd, std::uint64_t> ends_;
  std::map<int, std::uint64_t> statuses_;
  std::uint64_t n_tok_ = 0;
  std::uint64_t n_prompt_tok_ = 0;
  std::uint64_t n_cached_tok_ = 0;
  std::uint64_t n_lost_tok_ = 0;
  std::uint64_t n_different_ = 0;
  std::uint64_t n_duplicates_ = 0;
  std::uint64_t n_broken_ = 0;      // answers whose connection broke
  std::uint64_t n_reattached_ = 0;  // times a stream went on
  std::uint64_t n_resent_ = 0;
  std::uint64_t n_continued_ = 0;
  std::uint64_t n_unresumable_ = 0;
  std::uint64_t n_overload_ = 0;  // refused with 429 or 503
  std::vector<double> ttft_ms_;
  std::vector<double> long_ttft_ms_;
  LogHistogram gaps_;
  std::vector<ClientSum> clients_;  // by LoadResult::client
  bool has_amid_;
  std::optional<LoadResult> amid_;
  std::vector<TimedGap> timed_gaps_;        // kept if one request comes amid the others
  std::vector<SteadyTime> first_token_at_;  // likewise
  std::vector<double> gap_ms_;
  std::vector<double> excess_ms_;
  std::vector<double> pause_ms_;
  std::vector<double> duration_ms_;
  std::vector<double> refusal_ms_;
  std::vector<std::string> problems_;
};

}  // namespace deepwell::apps
