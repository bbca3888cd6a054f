// The loop around the line editor.
#include "apps/repl.hpp"

#include <cstdio>

#include "apps/command.hpp"
#include "apps/line_editor.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

constexpr std::string_view kQuotes = "\"\"\"";

/// Whether `text` opens a """ block that it does not close.
bool is_block_open(std::string_view text) {
  bool is_open = false;
  for (std::size_t at = text.find(kQuotes); at != text.npos;
       at = text.find(kQuotes, at + kQuotes.size())) {
    is_open = !is_open;
  }
  return is_open;
}

/// The text without the quotes of a """ block that is all of it.
std::string without_quotes(std::string text) {
  const bool is_block =
      text.starts_with(kQuotes) && text.ends_with(kQuotes) && text.size() >= 2 * kQuotes.size();
  if (!is_block) return text;
  text = text.substr(kQuotes.size(), text.size() - 2 * kQuotes.size());
  if (text.starts_with('\n')) text.erase(0, 1);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

/// One question or command, which may span lines: a """ block, or a line that ends with a backslash.
LineInput read_input(LineEditor& editor, std::string_view placeholder) {
  LineInput input = editor.read(">>> ", placeholder);
  while (input.kind == LineInput::Kind::kLine) {
    const bool is_continued = input.text.ends_with('\\') && !is_block_open(input.text);
    if (!is_continued && !is_block_open(input.text)) break;
    if (is_continued) input.text.pop_back();
    const LineInput more = editor.read("... ", "");
    if (more.kind != LineInput::Kind::kLine) return more;
    input.text += concat("\n", more.text);
  }
  return input;
}

}  // namespace

Status run_repl(ChatSession& session, const LocatedModel& model, Language language) {
  const bool is_chinese = language == Language::kChinese;
  const std::string_view placeholder =
      is_chinese ? "输入消息（/? 查看帮助）" : "Send a message (/? for help)";
  const std::string_view how_to_leave =
      is_chinese ? "按 Ctrl-D 或输入 /bye 退出。\n" : "Use Ctrl-D or /bye to leave.\n";
  LineEditor editor;
  while (true) {
    const LineInput input = read_input(editor, placeholder);
    if (input.kind == LineInput::Kind::kEnd) return print_text("\n");
    if (input.kind == LineInput::Kind::kInterrupted) {
      DW_TRY(print_text(concat("\n", how_to_leave)));
      continue;
    }
    const std::size_t start = input.text.find_first_not_of(" \t\n");
    if (start == std::string::npos) continue;
    editor.remember(input.text);
    if (input.text[start] == '/') {
      const CommandOutcome outcome =
          run_slash_command(input.text.substr(start), session, model, language);
      if (!outcome.reply.empty()) DW_TRY(print_line(outcome.reply));
      if (outcome.is_bye) return {};
      continue;
    }
    const Status answered = session.ask(without_quotes(input.text));
    if (!answered && answered.error().code != Code::kCancelled) {
      const bool is_full = answered.error().code == Code::kOutOfRange;
      const std::string_view advice = is_full ? "; /clear starts a new conversation" : "";
      std::fputs(concat("error: ", answered.error().message, advice, "\n").c_str(), stderr);
    }
  }
}

}  // namespace deepwell::apps
