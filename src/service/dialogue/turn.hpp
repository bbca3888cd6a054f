// Turn: what one answer is asked for, free of any protocol.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/runtime/generator.hpp"
#include "engine/sampling/params.hpp"
#include "service/chat/chat_template.hpp"

namespace deepwell::service {

/// `reason` of the error that a prompt without room for an answer gives.
inline constexpr std::string_view kReasonContextLength = "context_length_exceeded";

struct Turn {
  std::vector<ChatMessage> messages;    // untrusted text: none of it can become a control token
  std::optional<bool> enable_thinking;  // none: the template's default
  std::string template_variables;       // a JSON object of further template variables, or empty

  engine::SamplingParams sampling;    // its seed is replaced by `seed`
  std::optional<std::uint64_t> seed;  // none: one is drawn
  // Per choice, thought included; none: what the context has room for.
  std::optional<std::uint32_t> max_tokens;
  // The answer ends before the first of these; thoughts are not searched.
  std::vector<std::string> stop;
  std::uint32_t n_choices = 1;  // choice i is drawn with seed + i
  bool ignore_end = false;      // go on past the model's own end (benchmarks)
  engine::Priority priority = engine::Priority::kNormal;
};

}  // namespace deepwell::service
