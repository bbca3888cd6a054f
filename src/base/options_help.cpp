// The help text of an OptionTable.
#include <algorithm>

#include "base/concat.hpp"
#include "base/options.hpp"
#include "base/utf8.hpp"

namespace deepwell {

namespace {

struct HelpLine {
  std::string left;
  std::string right;
};

/// Two columns; a left part that is too wide gets a line of its own.
std::string two_columns(const std::vector<HelpLine>& lines) {
  constexpr std::size_t kMaxLeft = 34;
  std::size_t n_left = 0;
  for (const HelpLine& line : lines) {
    const std::size_t width = display_width(line.left);
    if (width <= kMaxLeft) n_left = std::max(n_left, width);
  }
  std::string out;
  for (const HelpLine& line : lines) {
    const std::size_t width = display_width(line.left);
    out += concat("  ", line.left);
    if (width > n_left) {
      out += concat("\n", std::string(n_left + 4, ' '));
    } else {
      out += std::string(n_left + 2 - width, ' ');
    }
    out += concat(line.right, "\n");
  }
  return out;
}

}  // namespace

std::string OptionTable::help(Language language) const {
  const bool is_chinese = language == Language::kChinese;
  std::string out;
  std::vector<HelpLine> lines;
  for (const Positional& positional : positionals_) {
    lines.push_back({positional.placeholder, std::string(positional.help.in(language))});
  }
  if (!lines.empty()) {
    out += concat(is_chinese ? "参数：" : "Arguments:", "\n", two_columns(lines), "\n");
    lines.clear();
  }
  for (const Option& option : options_) {
    HelpLine line;
    for (const std::string& name : option.names) {
      line.left += concat(line.left.empty() ? "" : ", ", name);
    }
    if (!option.placeholder.empty()) line.left += concat(" ", option.placeholder);
    line.right = option.help.in(language);
    if (!option.default_text.empty()) {
      line.right += is_chinese ? concat("（默认 ", option.default_text, "）")
                               : concat(" (default ", option.default_text, ")");
    }
    lines.push_back(std::move(line));
  }
  lines.push_back({"-h, --help", is_chinese ? "显示本帮助" : "show this help"});
  out += concat(is_chinese ? "选项：" : "Options:", "\n", two_columns(lines));
  return out;
}

std::string OptionTable::usage_arguments() const {
  std::string out;
  for (const Positional& positional : positionals_) {
    const std::string_view dots = positional.rest != nullptr ? "..." : "";
    out += positional.is_required ? concat(" ", positional.placeholder, dots)
                                  : concat(" [", positional.placeholder, dots, "]");
  }
  return out;
}

}  // namespace deepwell
