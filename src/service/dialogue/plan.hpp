// What an answer follows from and what it came to, and how the journal keeps both.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/runtime/generator.hpp"
#include "service/chat/reasoning.hpp"
#include "service/dialogue/answer.hpp"

namespace deepwell::service {

/// With the prompt ids, everything from which an answer's events follow: two servers that hold the
/// same plan give the same answer.
struct AnswerPlan {
  std::vector<engine::TokenId> prompt;
  engine::SamplingParams sampling;  // with the first choice's seed; choice i has seed + i
  std::uint32_t max_tokens = 0;
  std::vector<std::uint64_t> tags;  // one a choice: GenerateRequest::tag
  bool ignore_end = false;
  engine::Priority priority = engine::Priority::kNormal;
  std::vector<std::string> stop;
  std::optional<ReasoningFormat> reasoning;  // none: the model does not think
  bool is_thought_open = false;              // the prompt ends inside a thought
  bool is_streamed = false;                  // asked for as a stream
  bool use_usage_chunk = false;
  bool use_service_tier = false;

  std::uint32_t n_choices() const { return static_cast<std::uint32_t>(tags.size()); }
};

/// How one choice ended.
struct ChoiceOutcome {
  std::vector<engine::TokenId> ids;
  engine::FinishReason finish = engine::FinishReason::kNone;
};

/// How an answer ended.
struct AnswerOutcome {
  std::vector<ChoiceOutcome> choices;
  Usage usage;
  std::optional<Error> error;  // what ended it before its end
  bool is_continued = false;
};

/// JSON, without the prompt: that is a column of its own.
std::string encode_plan(const AnswerPlan& plan);
std::string encode_outcome(const AnswerOutcome& outcome);

/// Error: kDataLoss (not what encode_*() writes).
Result<AnswerPlan> decode_plan(std::string_view text, std::vector<engine::TokenId> prompt);
Result<AnswerOutcome> decode_outcome(std::string_view text);

}  // namespace deepwell::service
