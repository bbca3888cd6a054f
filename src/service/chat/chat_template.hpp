// ChatTemplate: a conversation to the prompt that a model was trained on, by the template in its file.
//
//   DW_ASSIGN(auto chat_template, ChatTemplate::parse(model.chat_template, bos, eos));
//   ChatInput input;
//   input.messages.push_back({.role = "user", .content = "Hello"});
//   DW_ASSIGN(const RenderedPrompt prompt, chat_template.render(input));
//   ids = tokenizer.encode_spans(prompt.views());
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/tokenizer/tokenizer.hpp"
#include "service/chat/reasoning.hpp"

namespace deepwell::service {

/// A function call that an earlier answer made.
struct ChatToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // a JSON object, as text
};

/// One message of a conversation. Nothing in it can become a control token, whatever it spells.
struct ChatMessage {
  std::string role;                    // "system", "user", "assistant", "tool", ...
  std::optional<std::string> content;  // none: only tool calls
  std::string reasoning;  // an earlier answer's thought; the template decides whether it is shown
  std::string name;
  std::vector<ChatToolCall> tool_calls;
  std::string tool_call_id;  // of the call that this "tool" message answers
};

struct ChatInput {
  std::vector<ChatMessage> messages;
  std::string tools;                    // a JSON array of tool definitions, or empty
  bool add_generation_prompt = true;    // open the assistant's next message
  std::optional<bool> enable_thinking;  // none: the template's default
  std::string variables;                // a JSON object of further template variables, or empty
  std::optional<std::tm> now;  // the local time that the template may print; none: the clock's
};

/// A stretch of prompt and whether the template wrote it. Only then may it spell control tokens.
struct PromptSpan {
  std::string text;
  bool is_trusted = false;
};

struct RenderedPrompt {
  std::vector<PromptSpan> spans;  // neighbours differ in is_trusted
  bool is_thought_open =
      false;  // the prompt ends in an opened thought: the answer begins inside it

  std::string text() const;
  /// What Tokenizer::encode_spans takes; valid while this prompt lives and is not moved.
  std::vector<engine::TextSpan> views() const;
};

/// Immutable and thread-safe once parsed; copies share their state.
class ChatTemplate {
 public:
  /// An empty source gives ChatML (https://github.com/openai/openai-python/blob/v0.28.1/chatml.md), and is_default().
  /// Some templates want a tool call's arguments as an object, some as text, some refuse calls beside content: which,
  /// is found out here, by trial. Error: kInvalidArgument, "chat template, line N: ...".
  static Result<ChatTemplate> parse(std::string_view source, std::string_view bos_token = {},
                                    std::string_view eos_token = {});

  /// Errors: kInvalidArgument if the template refuses the messages (the message quotes its words), if it fails on them
  /// or if `tools` or `variables` are not JSON (`field` says which); kResourceExhausted if it needs too many steps.
  Result<RenderedPrompt> render(const ChatInput& input) const;

  /// The model file had no template, and ChatML stands in: worth a notice, for its answers may be poor.
  bool is_default() const;
  /// The tags of the model's thoughts; none if its template mentions no known ones.
  std::optional<ReasoningFormat> reasoning_format() const;

 private:
  struct State;
  explicit ChatTemplate(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;  // owners: this template's copies
};

}  // namespace deepwell::service
