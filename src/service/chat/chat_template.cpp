// Builds a template's variables out of a conversation, as transformers' apply_chat_template does.
#include "service/chat/chat_template.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/concat.hpp"
#include "service/chat/jinja/json.hpp"
#include "service/chat/jinja/template.hpp"

namespace deepwell::service {

using jinja::Dict;
using jinja::Text;
using jinja::Trust;
using jinja::Value;

namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// How a template wants tool calls to be handed to it.
struct CallStyle {
  bool use_object_arguments = true;  // else the arguments are JSON text
  bool use_null_content = true;  // a message without content has none; else it has an empty text
};

/// Role names are ours, not the user's words: some templates build control tokens out of them ('<|' + role + '|>').
Trust role_trust(std::string_view role) {
  static constexpr std::array<std::string_view, 7> kRoles = {
      "system", "developer", "user", "assistant", "tool", "function", "ipython"};
  return std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end() ? Trust::kTemplate
                                                                       : Trust::kData;
}

Value user_text(std::string_view text) { return Value::text(std::string(text), Trust::kData); }

Error bad_field(Error error, std::string field) {
  error.message = concat(field, " is ", error.message);
  error.field = std::move(field);
  return error;
}

Result<Value> tool_calls_value(const std::vector<ChatToolCall>& calls, const CallStyle& style,
                               std::string_view field) {
  std::vector<Value> items;
  for (const ChatToolCall& call : calls) {
    Value arguments = user_text(call.arguments);
    if (style.use_object_arguments) {
      Result<Value> parsed = jinja::value_from_json(
          call.arguments.empty() ? std::string_view("{}") : std::string_view(call.arguments));
      if (!parsed)
        return bad_field(std::move(parsed).error(),
                         concat(field, ".tool_calls.function.arguments"));
      arguments = std::move(*parsed);
    }
    Dict function;
    function.set("name", user_text(call.name));
    function.set("arguments", std::move(arguments));
    Dict item;
    item.set("id", user_text(call.id));
    item.set("type", user_text("function"));
    item.set("function", Value::dict(std::move(function)));
    items.push_back(Value::dict(std::move(item)));
  }
  return Value::list(std::move(items));
}

Result<Value> message_value(const ChatMessage& message, const CallStyle& style,
                            std::string_view field) {
  Dict dict;
  dict.set("role", Value::text(message.role, role_trust(message.role)));
  const bool is_null = !message.content && style.use_null_content && !message.tool_calls.empty();
  dict.set("content", is_null ? Value::none() : user_text(message.content.value_or("")));
  if (!message.reasoning.empty()) dict.set("reasoning_content", user_text(message.reasoning));
  if (!message.name.empty()) dict.set("name", user_text(message.name));
  if (!message.tool_call_id.empty()) dict.set("tool_call_id", user_text(message.tool_call_id));
  if (!message.tool_calls.empty()) {
    DW_ASSIGN(Value calls, tool_calls_value(message.tool_calls, style, field));
    dict.set("tool_calls", std::move(calls));
  }
  return Value::dict(std::move(dict));
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

std::vector<PromptSpan> to_spans(const Text& text) {
  std::vector<PromptSpan> spans;
  std::size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    spans.push_back(
        {std::string(text.view().substr(begin, run.end - begin)), run.trust == Trust::kTemplate});
    begin = run.end;
  }
  return spans;
}

/// Whether the text ends in an opening tag that the template wrote, white space aside.
bool ends_in_open_thought(const Text& text, const ReasoningFormat& format) {
  const std::string_view view = text.view();
  const std::size_t end = view.find_last_not_of(" \t\n\r") + 1;
  if (!view.substr(0, end).ends_with(format.open)) return false;
  for (std::size_t pos = end - format.open.size(); pos < end; ++pos) {
    if (text.trust_at(pos) != Trust::kTemplate) return false;
  }
  return true;
}

}  // namespace

struct ChatTemplate::State {
  jinja::Template jinja;
  Text bos_token;
  Text eos_token;
  bool is_default = false;
  std::optional<ReasoningFormat> reasoning;
  CallStyle call_style;

  Result<Text> render(const ChatInput& input, const CallStyle& style) const;
  CallStyle probe_call_style() const;
};

Result<Text> ChatTemplate::State::render(const ChatInput& input, const CallStyle& style) const {
  Dict context;
  if (!input.variables.empty()) {
    Result<Value> variables = jinja::value_from_json(input.variables);
    if (!variables) return bad_field(std::move(variables).error(), "chat_template_kwargs");
    if (!variables->is_dict())
      return bad_field(invalid_argument("not a JSON object"), "chat_template_kwargs");
    for (const auto& [key, value] : variables->as_dict().entries())
      context.set(key.as_text().view(), value);
  }
  // After the request's variables, which must not stand in for any of these.
  context.set("bos_token", Value::text(bos_token));
  context.set("eos_token", Value::text(eos_token));
  std::vector<Value> messages;
  for (std::size_t i = 0; i < input.messages.size(); ++i) {
    DW_ASSIGN(Value message, message_value(input.messages[i], style, concat("messages[", i, "]")));
    messages.push_back(std::move(message));
  }
  context.set("messages", Value::list(std::move(messages)));
  Value tools = Value::none();
  if (!input.tools.empty()) {
    Result<Value> parsed = jinja::value_from_json(input.tools);
    if (!parsed) return bad_field(std::move(parsed).error(), "tools");
    const bool is_list = parsed->is_sequence();
    if (!is_list) return bad_field(invalid_argument("not a JSON array"), "tools");
    if (!parsed->as_sequence().items.empty()) tools = std::move(*parsed);
  }
  context.set("tools", std::move(tools));
  context.set("documents", Value::none());
  context.set("add_generation_prompt", Value::boolean(input.add_generation_prompt));
  if (input.enable_thinking) context.set("enable_thinking", Value::boolean(*input.enable_thinking));
  return jinja.render(Value::dict(std::move(context)), {}, input.now ? *input.now : local_time());
}

CallStyle ChatTemplate::State::probe_call_style() const {
  static constexpr std::string_view kKey = "probe_key";
  ChatInput probe;
  probe.now = std::tm{};
  probe.now->tm_mday = 1;
  probe.tools =
      R"([{"type":"function","function":{"name":"f","description":"","parameters":{"type":"object","properties":{}}}}])";
  probe.messages.push_back({.role = "user", .content = "x"});
  probe.messages.push_back(
      {.role = "assistant",
       .tool_calls = {{.id = "call00001", .name = "f", .arguments = R"({"probe_key":1})"}}});
  probe.messages.push_back({.role = "tool", .content = "y", .tool_call_id = "call00001"});
  for (const CallStyle style : {CallStyle{true, true}, CallStyle{true, false},
                                CallStyle{false, true}, CallStyle{false, false}}) {
    const Result<Text> text = render(probe, style);
    // Text that is printed as JSON once more shows as an escaped quote: such a template wants the object.
    const bool shows_call = text && text->view().find(kKey) != std::string_view::npos;
    if (shows_call && text->view().find("probe_key\\\"") == std::string_view::npos) return style;
  }
  return {};
}

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string_view bos_token,
                                         std::string_view eos_token) {
  const bool is_default = source.empty();
  Result<jinja::Template> jinja = jinja::Template::parse(is_default ? kChatMl : source);
  if (!jinja) return invalid_argument(concat("chat template, ", jinja.error().message));
  auto state =
      std::make_shared<State>(State{.jinja = std::move(*jinja),
                                    .bos_token = Text(std::string(bos_token), Trust::kTemplate),
                                    .eos_token = Text(std::string(eos_token), Trust::kTemplate),
                                    .is_default = is_default,
                                    .reasoning = detect_reasoning_format(source),
                                    .call_style = {}});
  state->call_style = state->probe_call_style();
  return ChatTemplate(std::move(state));
}

Result<RenderedPrompt> ChatTemplate::render(const ChatInput& input) const {
  Result<Text> text = state_->render(input, state_->call_style);
  if (!text) {
    Error error = std::move(text).error();
    if (error.field.empty() && error.code == Code::kInvalidArgument) {
      error.message = concat("the model's chat template refuses these messages: ", error.message);
    } else if (error.field.empty()) {
      error.message = concat("the model's chat template fails on these messages: ", error.message);
      if (error.code == Code::kFailedPrecondition) error.code = Code::kInvalidArgument;
    }
    return error;
  }
  RenderedPrompt prompt;
  prompt.spans = to_spans(*text);
  const ReasoningFormat format = state_->reasoning.value_or(kThinkTags);
  prompt.is_thought_open = input.add_generation_prompt && ends_in_open_thought(*text, format);
  return prompt;
}

bool ChatTemplate::is_default() const { return state_->is_default; }

std::optional<ReasoningFormat> ChatTemplate::reasoning_format() const { return state_->reasoning; }

std::string RenderedPrompt::text() const {
  std::string text;
  for (const PromptSpan& span : spans) text += span.text;
  return text;
}

std::vector<engine::TextSpan> RenderedPrompt::views() const {
  std::vector<engine::TextSpan> views;
  for (const PromptSpan& span : spans) views.push_back({span.text, span.is_trusted});
  return views;
}

}  // namespace deepwell::service
