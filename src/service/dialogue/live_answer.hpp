// LiveAnswer: an answer that lives independently of who reads it: token logs, and how each ends.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/async_queue.hpp"
#include "service/dialogue/answer.hpp"
#include "service/dialogue/plan.hpp"
#include "service/dialogue/queue_gate.hpp"
#include "service/dialogue/text_pipeline.hpp"
#include "service/dialogue/token_log.hpp"
#include "service/store/store.hpp"

namespace deepwell::service {

class LiveAnswer;

/// Is told what becomes of answers, from any thread and under no lock; must return at once.
class AnswerKeeper {
 public:
  virtual ~AnswerKeeper() = default;
  /// Once, when the answer has ended, before any reader learns of it.
  virtual void on_ended(LiveAnswer& answer) = 0;
  /// Once, when it has ended and the journal has decided about its admission.
  virtual void on_settled(std::shared_ptr<LiveAnswer> answer) = 0;
  /// The last reader of an answer that goes on has left; `n_visits` is for fail_if_unread().
  virtual void on_unread(std::shared_ptr<LiveAnswer> answer, std::uint64_t n_visits) = 0;
  /// A generation is not wanted any more.
  virtual void cancel(engine::GenerationId id) = 0;
};

/// What a reader finds new in one choice.
struct ChoiceNews {
  std::vector<engine::TokenId> ids;                           // behind those it has read
  engine::FinishReason finish = engine::FinishReason::kNone;  // the choice has ended
  std::uint32_t n_tok = 0;                                    // all tokens so far
  SteadyTime at;
};

/// Whose an answer is, and who runs it: what of its journal record is needed while it lives.
struct AnswerOrigin {
  std::string tenant;
  std::string idempotency_key;
  std::string request_hash;
  std::uint64_t epoch = 0;
};

struct AnswerNews {
  bool is_readable = false;  // the journal has decided: it may be shown
  std::vector<ChoiceNews> choices;
  std::optional<Error> error;  // after these tokens nothing comes any more
};

/// Thread-safe. Where a stop string ends a choice, and what the answer cost, is decided here, by a
/// pipeline of its own, whoever reads.
class LiveAnswer : public std::enable_shared_from_this<LiveAnswer> {
 public:
  /// `keeper` may be null for an answer that has ended.
  LiveAnswer(StreamRecord record, AnswerPlan plan,
             std::shared_ptr<const engine::Tokenizer> tokenizer,
             std::shared_ptr<AnswerKeeper> keeper, QueueTicket ticket);
  /// An answer of the journal that has ended.
  static std::shared_ptr<LiveAnswer> ended(StreamRecord record, AnswerPlan plan,
                                           AnswerOutcome outcome,
                                           std::shared_ptr<const engine::Tokenizer> tokenizer);

  // What does not change.
  const AnswerInfo& info() const { return info_; }
  const AnswerOrigin& origin() const { return origin_; }
  const AnswerPlan& plan() const { return plan_; }  // see drop_prompt()
  const engine::Tokenizer& tokenizer() const { return *tokenizer_; }

  // The generations' side.

  /// The sink of one choice's generation.
  std::shared_ptr<engine::GenerationSink> sink(std::uint32_t choice);
  /// The choices' generations run: cancels at once those that are not wanted any more.
  void set_generation(std::uint32_t choice, engine::GenerationId id);
  /// Choices that were submitted already.
  bool has_generation(std::uint32_t choice) const;
  void on_event(std::uint32_t choice, engine::GenerationEvent event);
  /// The journal has the answer, or never will.
  void set_admitted(bool is_admitted);
  /// Nothing is submitted any more: the prompt's memory is free for others.
  void drop_prompt();

  // Its end.

  /// Ends it before its end; later ends are ignored.
  void fail(Error error, StreamState state);
  /// fail(), unless somebody reads or has read since.
  void fail_if_unread(std::uint64_t n_visits, Error error, StreamState state);
  /// Another's answer stands in its place: nothing of it is ever shown, and its admission is refused.
  void deny(Error error);
  /// Its readers are told to leave; the answer itself goes on.
  void interrupt(Error error);

  bool has_ended() const;
  bool is_decided() const;
  bool is_admitted() const;
  bool is_continued() const;
  std::optional<Congestion> waiting() const;
  StreamState end_state() const;
  Usage usage() const;
  AnswerOutcome outcome() const;
  std::vector<engine::GenerationId> running_generations() const;

  // The readers' side.

  /// `news` is notified whenever read() may have more.
  void add_reader(std::shared_ptr<Signal> news);
  void remove_reader(const std::shared_ptr<Signal>& news);
  std::size_t n_readers() const;
  /// Of an answer nobody has read yet: lets its grace begin.
  void note_unread();
  /// Whether there can be such a cursor: of an answer that goes on, any may come true yet. Error:
  /// kInvalidArgument.
  Status check(const Cursor& cursor) const;
  /// What is behind the first n_read[i] tokens of choice i.
  AnswerNews read(std::span<const std::uint32_t> n_read) const;

 private:
  struct Choice {
    TokenLog log;
    std::unique_ptr<TextPipeline> tracker;  // none: nothing in the text decides anything
    std::optional<engine::GenerationId> generation;
    engine::FinishReason finish = engine::FinishReason::kNone;
    std::uint32_t n_reasoning_tok = 0;
    bool has_started = false;

    bool is_finished() const { return finish != engine::FinishReason::kNone; }
  };
  // What must be done when the lock is free.
  struct Effects {
    bool has_started = false;
    bool has_news = false;
    bool has_ended = false;
    bool is_settled = false;
    std::vector<engine::GenerationId> cancelled;
  };
  enum class Admission : std::uint8_t { kPending, kAdmitted, kRefused };

  void take(Choice& choice, engine::GenerationEvent& event, Effects& effects);
  void track(Choice& choice, std::size_t from);
  void end(StreamState state, std::optional<Error> error, Effects& effects);
  void settle(Effects& effects);
  void apply(Effects effects);
  Usage usage_now() const;

  AnswerPlan plan_;
  const AnswerInfo info_;
  const AnswerOrigin origin_;
  const std::size_t n_prompt_tok_;
  const std::shared_ptr<const engine::Tokenizer> tokenizer_;  // owners: descriptions, answers
  const std::shared_ptr<AnswerKeeper> keeper_;                // owners: the dialogue, live answers

  mutable std::mutex mutex_;
  QueueTicket ticket_;
  std::vector<Choice> choices_;
  std::vector<std::shared_ptr<Signal>> readers_;  // owners: this, the reader, its pending timers
  std::uint64_t n_visits_ = 0;                    // readers that ever came
  Admission admission_ = Admission::kPending;
  bool has_ended_ = false;
  bool is_settled_ = false;
  bool is_continued_ = false;
  StreamState end_state_ = StreamState::kRunning;
  std::unique_ptr<const Error> failure_;  // as the next one, seldom there
  std::unique_ptr<const Error> interruption_;
  std::optional<Usage> known_usage_;  // of an answer out of the journal
};

}  // namespace deepwell::service
