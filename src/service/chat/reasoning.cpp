// A state machine over the held text: each step takes what is certain off its front.
#include "service/chat/reasoning.hpp"

#include <algorithm>

#include "service/chat/partial_match.hpp"

namespace deepwell::service {

namespace {

constexpr ReasoningFormat kFormats[] = {kThinkTags};

// ASCII white space is all that models put around thoughts.
constexpr std::string_view kSpace = " \t\n\r\v\f";

std::size_t leading_space(std::string_view text) {
  return std::min(text.find_first_not_of(kSpace), text.size());
}

}  // namespace

std::span<const ReasoningFormat> reasoning_formats() { return kFormats; }

std::optional<ReasoningFormat> detect_reasoning_format(std::string_view template_source) {
  for (const ReasoningFormat& format : kFormats) {
    if (template_source.find(format.close) != std::string_view::npos ||
        template_source.find(format.open) != std::string_view::npos) {
      return format;
    }
  }
  return std::nullopt;
}

ReasoningSplitter::Delta ReasoningSplitter::push(std::string_view piece) {
  Delta delta;
  held_.append(piece);
  while (step(delta)) {
  }
  return delta;
}

ReasoningSplitter::Delta ReasoningSplitter::finish() {
  Delta delta;
  if (state_ == State::kThought) {
    delta.reasoning = held_.substr(0, held_.find_last_not_of(kSpace) + 1);
  } else if (state_ == State::kThoughtStart) {
    delta.reasoning = held_.substr(leading_space(held_));
  } else if (state_ != State::kContentStart) {
    delta.content = held_;
  }
  held_.clear();
  return delta;
}

/// Whether something was decided and another step may decide more.
bool ReasoningSplitter::step(Delta& delta) {
  switch (state_) {
    case State::kStart:
      return step_start(delta);
    case State::kThoughtStart: {
      held_.erase(0, leading_space(held_));
      // A model may repeat the tag that the prompt has opened with; that is no text of the thought.
      if (held_.starts_with(format_.open)) {
        held_.erase(0, format_.open.size());
        return true;
      }
      if (held_.empty() || format_.open.starts_with(held_)) return false;
      state_ = State::kThought;
      return true;
    }
    case State::kThought:
      return step_thought(delta);
    case State::kContentStart:
      held_.erase(0, leading_space(held_));
      if (held_.empty()) return false;
      state_ = State::kContent;
      return true;
    case State::kContent:
      delta.content += held_;
      held_.clear();
      return false;
  }
  return false;
}

bool ReasoningSplitter::step_start(Delta&) {
  const std::string_view visible = std::string_view(held_).substr(leading_space(held_));
  if (visible.starts_with(format_.open)) {
    held_.erase(0, held_.size() - visible.size() + format_.open.size());
    state_ = State::kThoughtStart;
    return true;
  }
  if (format_.open.starts_with(visible))
    return false;  // nothing visible yet, or the tag's beginning
  state_ = State::kContent;
  return true;
}

bool ReasoningSplitter::step_thought(Delta& delta) {
  const std::size_t close = held_.find(format_.close);
  if (close != std::string::npos) {
    const std::string_view thought = std::string_view(held_).substr(0, close);
    delta.reasoning += thought.substr(0, thought.find_last_not_of(kSpace) + 1);
    held_.erase(0, close + format_.close.size());
    state_ = State::kContentStart;
    return true;
  }
  // White space before the end, or before what may become the closing tag, may be the thought's last.
  const std::string_view sure =
      std::string_view(held_).substr(0, held_.size() - partial_match(held_, format_.close));
  const std::size_t n_sure = sure.find_last_not_of(kSpace) + 1;
  delta.reasoning += held_.substr(0, n_sure);
  held_.erase(0, n_sure);
  return false;
}

}  // namespace deepwell::service
