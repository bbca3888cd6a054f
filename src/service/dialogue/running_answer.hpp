// RunningAnswer: the Answer of a turn whose generations are queued or running.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "service/chat/reasoning.hpp"
#include "service/chat/stop_matcher.hpp"
#include "service/dialogue/dialogue.hpp"
#include "service/dialogue/token_log.hpp"

namespace deepwell::service {

/// What all choices of an answer share.
struct AnswerPlan {
  std::vector<engine::TokenId> prompt;
  engine::SamplingParams sampling;  // with the first choice's seed
  std::uint32_t max_tokens = 0;
  std::uint32_t n_choices = 1;
  bool ignore_end = false;
  std::vector<std::string> stop;
  std::optional<ReasoningFormat> reasoning;  // none: the model does not think
  bool is_thought_open = false;              // the prompt ends inside a thought
  std::string tenant;
};

class RunningAnswer final : public Answer {
 public:
  /// Queues every choice; if one is refused, those before it are cancelled.
  static Result<std::unique_ptr<Answer>> submit(engine::Generator& generator, AnswerPlan plan,
                                                Executor& home);

  ~RunningAnswer() override;

  Task<Result<std::vector<AnswerDelta>>> next(SteadyTime deadline, CancelToken cancel) override;
  bool is_finished() const override;
  Usage usage() const override { return usage_; }
  std::uint64_t seed() const override { return seed_; }

 private:
  /// One choice: its log, how far it was read, and the stages that its text runs through.
  struct Choice {
    engine::GenerationId id = 0;
    std::shared_ptr<TokenLog> log;  // owners: this answer and the engine
    std::size_t n_read_tok = 0;
    engine::StreamDecoder decoder;
    std::optional<ReasoningSplitter> splitter;
    StopMatcher stop;
    bool is_finished = false;
  };

  RunningAnswer(engine::Generator& generator, Executor& home);

  Result<std::vector<AnswerDelta>> collect();
  Status advance(std::uint32_t index, std::vector<AnswerDelta>& deltas);
  void push_token(Choice& choice, engine::TokenId id, AnswerDelta& delta);
  static void push_text(Choice& choice, std::string_view text, AnswerDelta& delta);
  static void flush(Choice& choice, AnswerDelta& delta);

  engine::Generator& generator_;
  Executor& home_;
  // Owners: all descriptions of the model, and this.
  const std::shared_ptr<const engine::Tokenizer> tokenizer_;
  const std::shared_ptr<Signal> news_;  // owners: the logs, pending timers, and this
  std::vector<Choice> choices_;
  Usage usage_;
  std::uint64_t seed_ = 0;
};

}  // namespace deepwell::service
