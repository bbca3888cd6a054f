// The rules of jinja2 3.1's lexer, https://jinja.palletsprojects.com/en/3.1.x/templates/#whitespace-control
#include "service/chat/jinja/lexer.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/concat.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

/// "\r\n" and "\r" become "\n"; one newline at the very end goes.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
    } else if (i + 1 >= source.size() || source[i + 1] != '\n') {
      out.push_back('\n');
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_name_byte(char c) {
  return is_digit_ascii(c) || c == '_' || is_lower_ascii(static_cast<unsigned char>(c)) ||
         is_upper_ascii(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80;
}

int hex_value(char c) {
  if (is_digit_ascii(c)) return c - '0';
  const char lower = to_lower_ascii(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Resolves the escapes of a string literal as Python's unicode-escape codec does. Empty if one is malformed.
std::optional<std::string> unescape(std::string_view raw) {
  std::string out;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 >= raw.size()) {
      out.push_back(raw[i]);
      continue;
    }
    const char kind = raw[++i];
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kBytes = "\a\b\f\n\r\t\v\\'\"";
    if (const std::size_t n = kNames.find(kind); n != std::string_view::npos) {
      out.push_back(kBytes[n]);
    } else if (kind >= '0' && kind <= '7') {
      char32_t value = 0;
      std::size_t n_digits = 0;
      for (; n_digits < 3 && i < raw.size() && raw[i] >= '0' && raw[i] <= '7'; ++i, ++n_digits) {
        value = value * 8 + static_cast<char32_t>(raw[i] - '0');
      }
      --i;
      append_utf8(out, value);
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const std::size_t n_digits = kind == 'x' ? 2 : (kind == 'u' ? 4 : 8);
      if (i + n_digits >= raw.size()) return std::nullopt;
      char32_t value = 0;
      for (std::size_t d = 0; d < n_digits; ++d) {
        const int digit = hex_value(raw[++i]);
        if (digit < 0 || value > 0xFFFFFFU) return std::nullopt;
        value = value * 16 + static_cast<char32_t>(digit);
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return std::nullopt;
      append_utf8(out, value);
    } else if (kind == 'N') {
      return std::nullopt;
    } else if (kind != '\n') {
      out.push_back('\\');
      out.push_back(kind);
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (pos_ < source_.size()) {
      const std::size_t tag = find_tag();
      if (tag == std::string::npos) {
        push(TokenType::kData, source_.substr(pos_));
        pos_ = source_.size();
        break;
      }
      DW_TRY(lex_tag(tag));
    }
    push(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void push(TokenType type, std::string text) {
    const auto n_lines = static_cast<std::uint32_t>(std::count(text.begin(), text.end(), '\n'));
    if (type != TokenType::kData || !text.empty())
      tokens_.push_back({type, line_, std::move(text)});
    if (type == TokenType::kData) line_ += n_lines;
  }

  void count_lines(std::size_t begin, std::size_t end) {
    line_ += static_cast<std::uint32_t>(
        std::count(source_.begin() + static_cast<std::ptrdiff_t>(begin),
                   source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
  }

  bool starts_with(std::size_t at, std::string_view what) const {
    return source_.compare(at, what.size(), what) == 0;
  }

  std::size_t skip_space(std::size_t at) const {
    while (at < source_.size()) {
      const CodePoint c = code_point_at(source_, at);
      if (!is_space(c.value)) break;
      at += c.n_bytes;
    }
    return at;
  }

  std::size_t find_tag() const {
    for (std::size_t at = source_.find('{', pos_); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    }
    return std::string::npos;
  }

  /// Emits the text before a tag, stripped as the tag's sign and lstrip_blocks ask.
  void push_data(std::size_t end, char sign, bool is_variable) {
    std::string_view text(source_.data() + pos_, end - pos_);
    if (sign == '-') {
      text = text.substr(0, trimmed(text, false, true).end);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line_at = newline == std::string_view::npos ? 0 : newline + 1;
      const bool is_line_start = line_at > 0 || pos_ == 0 || source_[pos_ - 1] == '\n';
      const std::string_view lead = text.substr(line_at);
      if (is_line_start && trimmed(lead).begin == lead.size()) text = text.substr(0, line_at);
    }
    const std::size_t kept_to = pos_ + text.size();
    push(TokenType::kData, std::string(text));
    count_lines(kept_to, end);
  }

  /// Past an end tag at `at`: "-%}" also takes the white space after it, "%}" one newline, "+%}" nothing more.
  std::size_t after_end_tag(std::size_t at, std::string_view close, bool use_trim) {
    const char sign = source_[at];
    std::size_t end = at + close.size() + (sign == '-' || sign == '+' ? 1 : 0);
    if (sign == '-') {
      end = skip_space(end);
    } else if (sign != '+' && use_trim && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    count_lines(at, end);
    return end;
  }

  bool is_end_tag(std::size_t at, std::string_view close, bool allow_plus) const {
    if (starts_with(at, close)) return true;
    const bool has_sign =
        at < source_.size() && (source_[at] == '-' || (allow_plus && source_[at] == '+'));
    return has_sign && starts_with(at + 1, close);
  }

  Status lex_tag(std::size_t tag) {
    const char kind = source_[tag + 1];
    std::size_t at = tag + 2;
    char sign = 0;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) sign = source_[at++];
    push_data(tag, sign, kind == '{');
    if (kind == '#') return lex_comment(at);
    if (kind == '%') {
      if (const std::size_t end = raw_tag_end(at, "raw", false); end != 0) return lex_raw(end);
    }
    push(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, "");
    pos_ = at;
    return lex_inside(kind == '{' ? "}}" : "%}", kind == '%');
  }

  Status lex_comment(std::size_t at) {
    for (std::size_t end = at; end < source_.size(); ++end) {
      if (!is_end_tag(end, "#}", true)) continue;
      count_lines(at, end);
      pos_ = after_end_tag(end, "#}", true);
      return {};
    }
    if (at >= source_.size()) return pos_ = at, Status();  // jinja2 lets "{#" at the very end pass
    return syntax_error(line_, "missing end of comment tag");
  }

  /// If "{% name %}" goes on at `at` (after its sign), the position after it, else 0.
  std::size_t raw_tag_end(std::size_t at, std::string_view name, bool is_end) {
    at = skip_space(at);
    if (!starts_with(at, name)) return 0;
    at = skip_space(at + name.size());
    if (!is_end_tag(at, "%}", is_end)) return 0;
    const std::uint32_t line = line_;
    const std::size_t end = after_end_tag(at, "%}", is_end);
    line_ = line;
    return end;
  }

  Status lex_raw(std::size_t begin) {
    count_lines(pos_, begin);
    pos_ = begin;
    for (std::size_t tag = source_.find("{%", begin); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      std::size_t at = tag + 2;
      char sign = 0;
      if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) sign = source_[at++];
      const std::size_t end = raw_tag_end(at, "endraw", true);
      if (end == 0) continue;
      push_data(tag, sign, false);
      count_lines(tag, end);
      pos_ = end;
      return {};
    }
    return syntax_error(line_, "missing end of raw directive");
  }

  Status lex_inside(std::string_view close, bool is_block) {
    std::string open_brackets;
    while (pos_ < source_.size()) {
      const std::size_t after = skip_space(pos_);
      count_lines(pos_, after);
      pos_ = after;
      if (pos_ >= source_.size()) break;
      if (open_brackets.empty() && is_end_tag(pos_, close, is_block)) {
        push(is_block ? TokenType::kBlockEnd : TokenType::kVariableEnd, "");
        pos_ = after_end_tag(pos_, close, is_block);
        return {};
      }
      if (lex_number() || lex_name()) continue;
      if (source_[pos_] == '\'' || source_[pos_] == '"') {
        DW_TRY(lex_string());
      } else {
        DW_TRY(lex_operator(open_brackets));
      }
    }
    return {};  // the parser reports the missing end
  }

  /// Length of "digits, possibly separated by single underscores" at `at`; 0 if there is no digit.
  template <class IsDigit>
  std::size_t digits_length(std::size_t at, IsDigit is_digit) const {
    std::size_t end = at;
    while (end < source_.size()) {
      if (is_digit(source_[end])) {
        ++end;
      } else if (end > at && source_[end] == '_' && end + 1 < source_.size() &&
                 is_digit(source_[end + 1])) {
        end += 2;
      } else {
        break;
      }
    }
    return end - at;
  }

  std::size_t decimal_length(std::size_t at) const { return digits_length(at, is_digit_ascii); }

  void push_number(TokenType type, std::size_t end) {
    std::string digits = source_.substr(pos_, end - pos_);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    push(type, std::move(digits));
    pos_ = end;
  }

  bool lex_number() {
    const std::size_t n_whole = decimal_length(pos_);
    if (n_whole == 0) return false;
    std::size_t end = pos_ + n_whole;
    const bool follows_dot = pos_ > 0 && source_[pos_ - 1] == '.';
    if (!follows_dot) {
      std::size_t float_end = end;
      if (float_end < source_.size() && source_[float_end] == '.') {
        const std::size_t n_fraction = decimal_length(float_end + 1);
        if (n_fraction > 0) float_end += 1 + n_fraction;
      }
      if (float_end < source_.size() && (source_[float_end] == 'e' || source_[float_end] == 'E')) {
        const std::size_t has_sign =
            float_end + 1 < source_.size() &&
            (source_[float_end + 1] == '+' || source_[float_end + 1] == '-');
        const std::size_t n_exponent = decimal_length(float_end + 1 + has_sign);
        if (n_exponent > 0) float_end += 1 + has_sign + n_exponent;
      }
      if (float_end != end) return push_number(TokenType::kFloat, float_end), true;
    }
    if (source_[pos_] == '0') return lex_zero(), true;
    push_number(TokenType::kInteger, end);
    return true;
  }

  /// 0x1F, 0o17, 0b1 or zeros.
  void lex_zero() {
    const char base = pos_ + 1 < source_.size() ? to_lower_ascii(source_[pos_ + 1]) : '\0';
    const int radix = base == 'x' ? 16 : (base == 'o' ? 8 : (base == 'b' ? 2 : 0));
    if (radix != 0) {
      const std::size_t first =
          pos_ + 2 + (pos_ + 2 < source_.size() && source_[pos_ + 2] == '_' ? 1 : 0);
      const std::size_t n =
          digits_length(first, [&](char c) { return hex_value(c) >= 0 && hex_value(c) < radix; });
      if (n > 0) return push_number(TokenType::kInteger, first + n);
    }
    push_number(TokenType::kInteger, pos_ + digits_length(pos_, [](char c) { return c == '0'; }));
  }

  bool lex_name() {
    std::size_t end = pos_;
    while (end < source_.size() && is_name_byte(source_[end])) ++end;
    if (end == pos_) return false;
    push(TokenType::kName, source_.substr(pos_, end - pos_));
    pos_ = end;
    return true;
  }

  Status lex_string() {
    const char quote = source_[pos_];
    std::size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return syntax_error(line_, "a string literal has no end");
    auto text = unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1));
    if (!text)
      return syntax_error(line_,
                          concat("malformed escape in string literal ",
                                 source_.substr(pos_, std::min<std::size_t>(end + 1 - pos_, 40))));
    push(TokenType::kString, std::move(*text));
    count_lines(pos_, end);
    pos_ = end + 1;
    return {};
  }

  Status lex_operator(std::string& open_brackets) {
    static constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
    for (const std::string_view pair : kPairs) {
      if (!starts_with(pos_, pair)) continue;
      push(TokenType::kOperator, std::string(pair));
      pos_ += 2;
      return {};
    }
    const char c = source_[pos_];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      return syntax_error(line_,
                          concat("unexpected character '",
                                 source_.substr(pos_, code_point_at(source_, pos_).n_bytes), "'"));
    }
    if (c == '{') open_brackets.push_back('}');
    if (c == '(') open_brackets.push_back(')');
    if (c == '[') open_brackets.push_back(']');
    if (c == '}' || c == ')' || c == ']') {
      if (open_brackets.empty() || open_brackets.back() != c)
        return syntax_error(line_, concat("unexpected '", c, "'"));
      open_brackets.pop_back();
    }
    push(TokenType::kOperator, std::string(1, c));
    ++pos_;
    return {};
  }

  std::string source_;
  std::size_t pos_ = 0;
  std::uint32_t line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

Error syntax_error(std::uint32_t line, std::string_view what) {
  return invalid_argument(concat("line ", line, ": ", what));
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(normalize_newlines(source)).run();
}

}  // namespace deepwell::service::jinja
