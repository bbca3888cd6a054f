// TextPipeline: the stages between one choice's tokens and its text: decode, split the thought off,
// look for stop strings.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/tokenizer/tokenizer.hpp"
#include "service/chat/reasoning.hpp"
#include "service/chat/stop_matcher.hpp"
#include "service/dialogue/plan.hpp"

namespace deepwell::service {

/// What the tokens pushed so far have made certain is a function of them alone: pipelines that were
/// given the same tokens are equal, however the tokens came.
class TextPipeline {
 public:
  /// The tokenizer must outlive it.
  TextPipeline(const engine::Tokenizer& tokenizer, const AnswerPlan& plan);

  /// Appends what this token makes certain.
  void push(engine::TokenId id, std::string& reasoning, std::string& content);
  /// Appends what was held back, when the choice has ended by itself.
  void finish(std::string& reasoning, std::string& content);

  /// The next token belongs to the thought.
  bool is_thinking() const { return splitter_ && splitter_->is_thinking(); }
  /// A stop string is complete: the choice ends here.
  bool is_stopped() const { return stop_.is_matched(); }

 private:
  void push_text(std::string_view text, std::string& reasoning, std::string& content);

  engine::StreamDecoder decoder_;
  std::optional<ReasoningSplitter> splitter_;
  StopMatcher stop_;
};

}  // namespace deepwell::service
