// The slash commands of the prompt.
#include <array>
#include <charconv>
#include <cmath>
#include <functional>

#include "apps/repl.hpp"
#include "base/concat.hpp"
#include "base/suggest.hpp"

namespace deepwell::apps {

namespace {

constexpr std::string_view kHelpEnglish =
    "  /set system TEXT              set the system message\n"
    "  /set parameter NAME VALUE     set a parameter (/show parameters lists them)\n"
    "  /set think | nothink          let the model think, or answer at once\n"
    "  /set verbose | quiet          show statistics after each answer, or not\n"
    "  /show info | system | parameters | template\n"
    "  /clear                        start a new conversation\n"
    "  /bye                          leave\n"
    "  /?, /help                     this help\n"
    "\n"
    "  \"\"\"                           starts and ends a message of several lines\n"
    "  Ctrl-C                        stop the answer\n"
    "  Ctrl-D                        leave";
constexpr std::string_view kHelpChinese =
    "  /set system 文本              设置系统消息\n"
    "  /set parameter 名称 值        设置参数（/show parameters 列出）\n"
    "  /set think | nothink          允许思考，或直接回答\n"
    "  /set verbose | quiet          回答后显示或隐藏统计\n"
    "  /show info | system | parameters | template\n"
    "  /clear                        开始新的对话\n"
    "  /bye                          退出\n"
    "  /?、/help                     本帮助\n"
    "\n"
    "  \"\"\"                           开始与结束多行消息\n"
    "  Ctrl-C                        停止回答\n"
    "  Ctrl-D                        退出";

/// Cuts the first word off `text`, with the blanks around it.
std::string_view take_word(std::string_view& text) {
  const std::size_t start = std::min(text.find_first_not_of(" \t\n"), text.size());
  text.remove_prefix(start);
  const std::size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  return word;
}

std::string unquoted(std::string_view text) {
  for (const std::string_view quotes : {"\"\"\"", "\""}) {
    const bool is_quoted =
        text.size() >= 2 * quotes.size() && text.starts_with(quotes) && text.ends_with(quotes);
    if (is_quoted) return std::string(text.substr(quotes.size(), text.size() - 2 * quotes.size()));
  }
  return std::string(text);
}

/// One parameter that can be set: how to read it into the settings and how to show it.
struct Parameter {
  std::string_view name;
  double min;
  double max;
  bool is_whole;
  void (*set)(ChatSettings&, double);
  std::string (*show)(const ChatSettings&);
};

// The names are those of Ollama's Modelfile, which people know; num_predict is our --max-tokens.
constexpr std::array kParameters = {
    Parameter{"temperature", 0, 100, false,
              [](ChatSettings& s, double v) { s.sampling.temperature = static_cast<float>(v); },
              [](const ChatSettings& s) { return concat(s.sampling.temperature); }},
    Parameter{"top_k", 0, 1e6, true,
              [](ChatSettings& s, double v) { s.sampling.top_k = static_cast<std::int32_t>(v); },
              [](const ChatSettings& s) { return concat(s.sampling.top_k); }},
    Parameter{"top_p", 0, 1, false,
              [](ChatSettings& s, double v) { s.sampling.top_p = static_cast<float>(v); },
              [](const ChatSettings& s) { return concat(s.sampling.top_p); }},
    Parameter{"min_p", 0, 1, false,
              [](ChatSettings& s, double v) { s.sampling.min_p = static_cast<float>(v); },
              [](const ChatSettings& s) { return concat(s.sampling.min_p); }},
    Parameter{
        "repeat_penalty", 0.01, 100, false,
        [](ChatSettings& s, double v) { s.sampling.repetition_penalty = static_cast<float>(v); },
        [](const ChatSettings& s) { return concat(s.sampling.repetition_penalty); }},
    Parameter{
        "frequency_penalty", -2, 2, false,
        [](ChatSettings& s, double v) { s.sampling.frequency_penalty = static_cast<float>(v); },
        [](const ChatSettings& s) { return concat(s.sampling.frequency_penalty); }},
    Parameter{
        "presence_penalty", -2, 2, false,
        [](ChatSettings& s, double v) { s.sampling.presence_penalty = static_cast<float>(v); },
        [](const ChatSettings& s) { return concat(s.sampling.presence_penalty); }},
    Parameter{
        "seed", 0, 9007199254740992.0, true,
        [](ChatSettings& s, double v) { s.seed = static_cast<std::uint64_t>(v); },
        [](const ChatSettings& s) { return s.seed ? concat(*s.seed) : std::string("drawn"); }},
    Parameter{"num_predict", 1, 1 << 24, true,
              [](ChatSettings& s, double v) { s.max_tokens = static_cast<std::uint32_t>(v); },
              [](const ChatSettings& s) {
                return s.max_tokens ? concat(*s.max_tokens)
                                    : std::string("until the context is full");
              }},
};

std::string show_parameters(const ChatSettings& settings) {
  std::string out;
  for (const Parameter& parameter : kParameters) {
    std::string name(parameter.name);
    name.resize(20, ' ');
    out += concat("  ", name, parameter.show(settings), "\n");
  }
  std::string stops;
  for (const std::string& stop : settings.stop)
    stops += concat(stops.empty() ? "" : ", ", "\"", stop, "\"");
  return concat(out, "  stop                ", stops.empty() ? "none" : stops);
}

std::string show_info(const ChatSession& session, const LocatedModel& model) {
  const engine::ModelDescription& description = session.model();
  return concat("  name           ", model.name, "\n  file           ", model.path,
                "\n  architecture   ", description.architecture, "\n  parameters     ",
                description.n_params / 1'000'000, " M\n  context        ", description.n_ctx_tok,
                " of ", description.n_ctx_train_tok, " tokens\n  fingerprint    ",
                description.fingerprint);
}

CommandOutcome set_command(std::string_view rest, ChatSession& session) {
  ChatSettings& settings = session.settings;
  const std::string_view what = take_word(rest);
  if (what == "system") {
    settings.system = unquoted(rest);
    return {settings.system.empty() ? "system message removed" : "system message set"};
  }
  if (what == "parameter") {
    const std::string_view name = take_word(rest);
    const Status set = set_parameter(settings, name, rest);
    return {set ? concat("set ", name, " to ", rest) : concat("error: ", set.error().message)};
  }
  if (what == "think" || what == "nothink") {
    settings.use_thinking = what == "think";
    return {what == "think" ? "thinking on"
                            : "thinking off, as far as the model's template has a switch"};
  }
  if (what == "verbose" || what == "quiet") {
    settings.is_verbose = what == "verbose";
    return {what == "verbose" ? "statistics on" : "statistics off"};
  }
  const std::vector<std::string> known = {"system",  "parameter", "think",
                                          "nothink", "verbose",   "quiet"};
  return {concat("unknown setting '", what, "'", did_you_mean(what, known), "; /? lists them")};
}

CommandOutcome show_command(std::string_view rest, const ChatSession& session,
                            const LocatedModel& model) {
  const std::string_view what = take_word(rest);
  if (what == "info" || what.empty()) return {show_info(session, model)};
  if (what == "system")
    return {session.settings.system.empty() ? "no system message" : session.settings.system};
  if (what == "parameters") return {show_parameters(session.settings)};
  if (what == "template") return {session.model().chat_template};
  const std::vector<std::string> known = {"info", "system", "parameters", "template"};
  return {concat("cannot show '", what, "'", did_you_mean(what, known),
                 "; /? lists what can be shown")};
}

}  // namespace

Status set_parameter(ChatSettings& settings, std::string_view name, std::string_view value) {
  if (name == "stop") {
    settings.stop.clear();
    if (!value.empty()) settings.stop.push_back(unquoted(value));
    return {};
  }
  std::vector<std::string> known = {"stop"};
  for (const Parameter& parameter : kParameters) {
    known.emplace_back(parameter.name);
    if (parameter.name != name) continue;
    double number = 0;
    const char* end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, number);
    const bool is_number = parsed.ec == std::errc() && parsed.ptr == end && std::isfinite(number);
    if (!is_number || (parameter.is_whole && number != std::floor(number))) {
      return invalid_argument(
          concat("'", value, "' is not a ", parameter.is_whole ? "whole " : "", "number"));
    }
    if (number < parameter.min || number > parameter.max) {
      return invalid_argument(
          concat(name, " must be between ", parameter.min, " and ", parameter.max));
    }
    parameter.set(settings, number);
    return {};
  }
  return invalid_argument(concat("unknown parameter '", name, "'", did_you_mean(name, known),
                                 "; /show parameters lists them"));
}

CommandOutcome run_slash_command(std::string_view line, ChatSession& session,
                                 const LocatedModel& model, Language language) {
  const std::string command(take_word(line));
  if (command == "/bye" || command == "/exit" || command == "/quit") return {{}, true};
  if (command == "/?" || command == "/help") {
    return {std::string(language == Language::kChinese ? kHelpChinese : kHelpEnglish)};
  }
  if (command == "/clear") {
    session.clear();
    return {language == Language::kChinese ? "已开始新的对话" : "started a new conversation"};
  }
  if (command == "/set") return set_command(line, session);
  if (command == "/show") return show_command(line, session, model);
  const std::vector<std::string> known = {"/bye", "/clear", "/help", "/set", "/show", "/exit"};
  return {
      concat("unknown command '", command, "'", did_you_mean(command, known), "; /? lists them")};
}

}  // namespace deepwell::apps
