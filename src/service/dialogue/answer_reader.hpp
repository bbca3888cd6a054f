// AnswerReader: an Answer over a LiveAnswer, from any cursor on.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "service/dialogue/answer.hpp"
#include "service/dialogue/live_answer.hpp"

namespace deepwell::service {

/// Replays the tokens from the first on through a pipeline of its own and drops the text that lies
/// before its cursor.
class AnswerReader final : public Answer {
 public:
  /// `from` must have one entry a choice. `n_readers` counts the readers there are.
  AnswerReader(std::shared_ptr<LiveAnswer> answer, const Cursor& from, Executor& home,
               std::shared_ptr<std::atomic<std::uint32_t>> n_readers);
  ~AnswerReader() override;

  const AnswerInfo& info() const override { return answer_->info(); }
  Task<Result<std::vector<AnswerDelta>>> next(SteadyTime deadline, CancelToken cancel) override;
  bool is_finished() const override;
  Usage usage() const override { return answer_->usage(); }
  std::optional<Congestion> waiting() const override { return answer_->waiting(); }
  bool is_decided() const override { return answer_->is_decided(); }
  bool is_resumable() const override { return answer_->is_admitted(); }
  bool is_continued() const override { return answer_->is_continued(); }
  void stop() override;

 private:
  struct Choice {
    TextPipeline pipeline;
    std::uint32_t n_skip_tok = 0;  // the cursor: text of tokens before it is known already
    bool is_finished = false;
  };

  Result<std::vector<AnswerDelta>> collect();
  Status advance(std::uint32_t index, const ChoiceNews& news, std::vector<AnswerDelta>& deltas);

  const std::shared_ptr<LiveAnswer> answer_;
  Executor& home_;
  const std::shared_ptr<Signal> news_;  // owners: the answer, pending timers, and this
  std::vector<Choice> choices_;
  std::vector<std::uint32_t> n_read_tok_;                        // one a choice
  const std::shared_ptr<std::atomic<std::uint32_t>> n_readers_;  // owners: the dialogue, readers
};

/// `reason` of what ended an answer that was stopped on request or that nobody read.
inline constexpr std::string_view kReasonAbandoned = "answer_abandoned";
inline constexpr std::string_view kReasonStopped = "answer_stopped";

}  // namespace deepwell::service
