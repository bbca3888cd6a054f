// Reasoning split: an answer's thought apart from its content, while the text streams.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace deepwell::service {

/// The tags around a thought.
struct ReasoningFormat {
  std::string_view open;
  std::string_view close;
};

inline constexpr ReasoningFormat kThinkTags = {"<think>", "</think>"};

/// Every format that is known; a new one is one more entry.
std::span<const ReasoningFormat> reasoning_formats();

/// The format whose tags a chat template mentions; none if the model does not think.
std::optional<ReasoningFormat> detect_reasoning_format(std::string_view template_source);

/// Takes an answer's text in pieces and gives back what is certain of thought and content.
///
/// A thought is open from the start (the prompt opened it) or begins where the answer begins, white space aside; a
/// later opening tag is text like any other; one that repeats the opening at once is dropped. A thought without closing tag goes on to the
/// end. White space around the thought and before the content after it is dropped, as DeepSeek's API does; an answer
/// without a thought is passed on byte for byte. Text is held back only while it may be a tag's beginning or white
/// space that may turn out to end the thought. The pieces may be cut anywhere: the joined result is the same.
class ReasoningSplitter {
 public:
  struct Delta {
    std::string reasoning;
    std::string content;
  };

  explicit ReasoningSplitter(bool is_thought_open, ReasoningFormat format = kThinkTags)
      : format_(format), state_(is_thought_open ? State::kThoughtStart : State::kStart) {}

  /// What this piece makes certain. The piece is text as the model wrote it, whole characters or not.
  Delta push(std::string_view piece);
  /// What is left when the answer has ended.
  Delta finish();

  /// Whether text is being taken as a thought at this moment.
  bool is_thinking() const { return state_ == State::kThoughtStart || state_ == State::kThought; }

 private:
  enum class State : std::uint8_t {
    kStart,         // before the answer's first visible character
    kThoughtStart,  // in the thought, before its first visible character
    kThought,
    kContentStart,  // after the thought, before the content's first visible character
    kContent,
  };

  bool step(Delta& delta);
  bool step_start(Delta& delta);
  bool step_thought(Delta& delta);

  ReasoningFormat format_;
  State state_;
  std::string held_;  // text whose side is not certain yet
};

}  // namespace deepwell::service
