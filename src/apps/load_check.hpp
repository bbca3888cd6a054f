// CheckedLoad: a load whose answers are compared with those to the same requests undisturbed.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "apps/load_account.hpp"
#include "apps/load_client.hpp"
#include "apps/load_question.hpp"

namespace deepwell::apps {

struct CheckedLoadOptions {
  LoadTarget target;
  LoadQuestions questions;
  std::uint32_t n_streams = 1;
  std::uint64_t n_total = 0;  // 0: until is_over
  double rate_per_s = 0;
  // One request more with a prompt of so many tokens, so long after the first; 0: none.
  std::uint32_t n_amid_tok = 0;
  std::chrono::milliseconds amid_after{5'000};
  double pace_ms = 0;  // between two tokens of the source, if it is known
  bool use_reattach = false;
  bool use_verify = true;
  std::chrono::milliseconds answer_limit{600'000};
};

class CheckedLoad {
 public:
  explicit CheckedLoad(CheckedLoadOptions options) : options_(std::move(options)) {}

  /// Asks each question once, and further ones until as many were asked as streams will run at once: how the system
  /// answers and how long its gaps are when nothing happens to it. Errors: kFailedPrecondition if an answer fails or
  /// two answers to one question differ; then nothing can be learned from a drill.
  Status ask_undisturbed();

  struct Hooks {
    std::function<bool()> is_over;
    std::function<bool()> is_cancelled;
    std::function<void(std::uint32_t n_running, std::uint32_t n_open)> on_change;
    std::function<void(const LoadResult&, const LoadVerdict&)> on_result;
  };
  /// The load itself. Errors: those of run_load.
  Result<LoadAccount> run(const Hooks& hooks);

  /// Of the undisturbed run: p99 of the longest gap less the pace, p99 until the first token.
  double undisturbed_excess_ms() const { return undisturbed_excess_ms_; }
  double undisturbed_ttft_ms() const { return undisturbed_ttft_ms_; }

 private:
  LoadPlan make_plan() const;
  LoadVerdict judge(const LoadResult& result) const;

  CheckedLoadOptions options_;
  std::vector<std::optional<LoadAnswer>> references_;  // by question
  double undisturbed_excess_ms_ = 0;
  double undisturbed_ttft_ms_ = 0;
};

}  // namespace deepwell::apps
