// Filters on strings and numbers.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/concat.hpp"
#include "service/chat/jinja/json.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

/// The input as jinja2's soft_str: a string as it is, anything else printed.
Result<Text> soft_text(Evaluator& evaluator, const Value& input) {
  DW_ASSIGN(Text text, to_text(input, evaluator.budget()));
  DW_TRY(evaluator.budget().spend_bytes(text.n_bytes()));
  return text;
}

Result<Value> upper_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  return Value::text(text.mapped(to_upper_ascii));
}

Result<Value> lower_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  return Value::text(text.mapped(to_lower_ascii));
}

Result<Value> capitalize_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  return Value::text(capitalize(text));
}

/// A letter is upper case at the start and after one of "-({[<" or white space.
Result<Value> title_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  bool is_start = true;
  return Value::text(text.mapped([&](char c) {
    const bool was_start = is_start;
    is_start = std::string_view("-({[<").find(c) != std::string_view::npos ||
               is_space(static_cast<unsigned char>(c));
    if (static_cast<unsigned char>(c) >= 0x80) is_start = false;
    return was_start ? to_upper_ascii(c) : to_lower_ascii(c);
  }));
}

Result<Value> trim_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"chars"}, 0, "trim"));
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  DW_ASSIGN(Text stripped, strip(text, bound[0], true, true, evaluator.budget()));
  return Value::text(std::move(stripped));
}

Result<Value> replace_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"old", "new", "count"}, 2, "replace"));
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  DW_ASSIGN(const Text old_part, soft_text(evaluator, *bound[0]));
  DW_ASSIGN(const Text new_part, soft_text(evaluator, *bound[1]));
  std::int64_t max_count = -1;
  if (bound[2] && !bound[2]->is_none()) {
    DW_ASSIGN(max_count, int_argument(*bound[2], "replace"));
  }
  DW_ASSIGN(Text replaced, replace(text, old_part, new_part, max_count, evaluator.budget()));
  return Value::text(std::move(replaced));
}

Result<Value> string_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(Text text, soft_text(evaluator, input));
  return Value::text(std::move(text));
}

/// Nothing is escaped here, so a text that is marked safe stays what it is.
Result<Value> safe_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  return string_filter(evaluator, input, args);
}

Result<Value> indent_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"width", "first", "blank"}, 0, "indent"));
  DW_ASSIGN(const Text text, text_argument(input, "indent"));
  Text indention(std::string(4, ' '), Trust::kTemplate);
  if (bound[0] && bound[0]->is_text()) {
    indention = bound[0]->as_text();
  } else if (bound[0]) {
    DW_ASSIGN(const std::int64_t width, int_argument(*bound[0], "indent"));
    DW_TRY(
        evaluator.budget().spend_bytes(static_cast<std::size_t>(std::max<std::int64_t>(width, 0))));
    indention = Text(std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' '),
                     Trust::kTemplate);
  }
  const bool use_first = bound[1] && is_true(*bound[1]);
  const bool use_blank = bound[2] && is_true(*bound[2]);
  Text closed = text;
  closed.append("\n", Trust::kTemplate);
  DW_TRY(evaluator.budget().spend_items(text.n_bytes()));
  const std::vector<Text> lines = split_lines(closed, false);
  Text out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    DW_TRY(evaluator.budget().spend_bytes(indention.n_bytes() + lines[i].n_bytes()));
    if (i > 0) out.append("\n", Trust::kTemplate);
    const bool is_indented = i == 0 ? use_first : (use_blank || !lines[i].empty());
    if (is_indented) out.append(indention);
    out.append(lines[i]);
  }
  DW_TRY(evaluator.budget().spend_bytes(out.n_bytes()));
  return Value::text(std::move(out));
}

Result<Value> format_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const Text format, soft_text(evaluator, input));
  if (!args.named.empty() && !args.positional.empty())
    return invalid_argument("can't handle positional and keyword arguments at the same time");
  Value values = Value::tuple(args.positional);
  if (!args.named.empty()) {
    Dict named;
    for (const auto& [name, value] : args.named) named.set(name, value);
    values = Value::dict(std::move(named));
  }
  DW_ASSIGN(Text text, percent_format(format, values, evaluator.budget()));
  return Value::text(std::move(text));
}

Result<Value> escape_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Text text, soft_text(evaluator, input));
  static constexpr std::string_view kSpecial = "&<>'\"";
  static constexpr std::string_view kEntities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  Text out;
  for (std::size_t pos = 0; pos < text.n_bytes();) {
    const std::size_t end = std::min(text.view().find_first_of(kSpecial, pos), text.n_bytes());
    out.append_slice(text, pos, end);
    if (end < text.n_bytes())
      out.append(kEntities[kSpecial.find(text.view()[end])], text.trust_at(end));
    pos = end + 1;
  }
  return Value::text(std::move(out));
}

Result<Value> tojson_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound,
            bind_args(args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, "tojson"));
  JsonStyle style;
  style.use_ascii = bound[0] && is_true(*bound[0]);
  if (bound[1] && !bound[1]->is_none()) {
    style.item_separator = Text(",", Trust::kData);
    if (bound[1]->is_text()) {
      style.indent = bound[1]->as_text();
    } else {
      DW_ASSIGN(const std::int64_t width, int_argument(*bound[1], "tojson"));
      style.indent =
          Text(std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(width, 0, 1000)), ' '),
               Trust::kData);
    }
  }
  if (bound[2] && !bound[2]->is_none()) {
    DW_ASSIGN(const std::vector<Value> separators, evaluator.items_of(*bound[2]));
    if (separators.size() != 2) return invalid_argument("tojson needs two separators");
    DW_ASSIGN(style.item_separator, text_argument(separators[0], "tojson"));
    DW_ASSIGN(style.key_separator, text_argument(separators[1], "tojson"));
  }
  style.use_sorted_keys = bound[3] && is_true(*bound[3]);
  DW_ASSIGN(Text text, value_to_json(input, style, evaluator.budget()));
  return Value::text(std::move(text));
}

/// A number spelled as Python accepts it: white space around, single underscores between digits. Empty if it is none.
std::string plain_digits(std::string_view text) {
  const ByteRange range = trimmed(text);
  std::string_view body = text.substr(range.begin, range.end - range.begin);
  if (!body.empty() && body.front() == '+') body.remove_prefix(1);
  if (!body.empty() && (body.front() == '+' || body.front() == '_' || body.back() == '_'))
    return "";
  std::string digits;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '_') {
      digits.push_back(body[i]);
    } else if (!is_digit_ascii(body[i - 1]) || i + 1 >= body.size() ||
               !is_digit_ascii(body[i + 1])) {
      return "";
    }
  }
  return digits;
}

std::optional<double> parse_real(std::string_view text) {
  const std::string digits = plain_digits(text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || end != digits.data() + digits.size() ||
      error == std::errc::invalid_argument)
    return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_whole(std::string_view text, int base) {
  std::string digits = plain_digits(text);
  const bool is_negative = !digits.empty() && digits.front() == '-';
  std::string body = is_negative ? digits.substr(1) : digits;
  const std::string_view mark = base == 16 ? "xX" : (base == 8 ? "oO" : (base == 2 ? "bB" : ""));
  if (body.size() > 2 && body[0] == '0' && mark.find(body[1]) != std::string_view::npos)
    body = body.substr(2);
  if (body.empty() || body.front() == '-') return std::nullopt;
  if (is_negative) body.insert(body.begin(), '-');
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(body.data(), body.data() + body.size(), value, base);
  if (end != body.data() + body.size() || error != std::errc()) return std::nullopt;
  return value;
}

std::optional<Value> truncated(double number) {
  if (!(number > -9.2e18 && number < 9.2e18)) return std::nullopt;
  return Value::integer(static_cast<std::int64_t>(number));
}

Result<Value> int_filter(Evaluator&, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"default", "base"}, 0, "int"));
  const Value fallback = bound[0].value_or(Value::integer(0));
  std::int64_t base = 10;
  if (bound[1]) {
    DW_ASSIGN(base, int_argument(*bound[1], "int"));
    if (base < 2 || base > 36) return invalid_argument("int() base must be >= 2 and <= 36");
  }
  if (input.is_undefined()) return invalid_argument(std::string(input.undefined_what()));
  if (input.is_integral()) return Value::integer(input.as_int());
  if (input.is_float()) return truncated(input.as_double()).value_or(fallback);
  if (!input.is_text()) return fallback;
  if (const auto whole = parse_whole(input.as_text().view(), static_cast<int>(base)))
    return Value::integer(*whole);
  if (const auto real = parse_real(input.as_text().view()))
    return truncated(*real).value_or(fallback);
  return fallback;
}

Result<Value> float_filter(Evaluator&, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"default"}, 0, "float"));
  if (input.is_undefined()) return invalid_argument(std::string(input.undefined_what()));
  if (input.is_number()) return Value::real(input.as_double());
  if (input.is_text()) {
    if (const auto real = parse_real(input.as_text().view())) return Value::real(*real);
  }
  return bound[0].value_or(Value::real(0.0));
}

/// Half to even at a decimal place, decided on the exact decimal expansion, as Python's round().
double round_common(double number, int precision) {
  if (precision > 300 || !std::isfinite(number)) return number;
  if (precision >= 0) {
    std::string digits(400, '\0');
    const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), number,
                                       std::chars_format::fixed, precision);
    double rounded = number;
    if (written.ec == std::errc()) std::from_chars(digits.data(), written.ptr, rounded);
    return rounded;
  }
  const double scale = std::pow(10.0, -precision);
  return std::isfinite(scale) ? std::nearbyint(number / scale) * scale : 0.0;
}

Result<Value> round_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"precision", "method"}, 0, "round"));
  std::int64_t precision = 0;
  if (bound[0]) {
    DW_ASSIGN(precision, int_argument(*bound[0], "round"));
  }
  precision = std::clamp<std::int64_t>(precision, -400, 400);
  std::string method = "common";
  if (bound[1]) {
    DW_ASSIGN(const Text text, text_argument(*bound[1], "round"));
    method = std::string(text.view());
  }
  if (input.is_undefined()) return invalid_argument(std::string(input.undefined_what()));
  if (!input.is_number())
    return invalid_argument(concat("type ", type_name(input), " doesn't define __round__ method"));
  if (method == "common") {
    if (input.is_integral() && precision >= 0) return Value::integer(input.as_int());
    const double rounded = round_common(input.as_double(), static_cast<int>(precision));
    return input.is_integral() ? truncated(rounded).value_or(input) : Value::real(rounded);
  }
  if (method != "ceil" && method != "floor")
    return invalid_argument("method must be common, ceil or floor");
  DW_ASSIGN(const Value scale, arithmetic(Op::kPow, Value::integer(10), Value::integer(precision),
                                          evaluator.budget()));
  DW_ASSIGN(const Value scaled, arithmetic(Op::kMul, input, scale, evaluator.budget()));
  const double number = scaled.as_double();
  const auto whole = truncated(method == "ceil" ? std::ceil(number) : std::floor(number));
  if (!whole) return invalid_argument("the number is too large to round");
  return arithmetic(Op::kDiv, *whole, scale, evaluator.budget());
}

Result<Value> abs_filter(Evaluator& evaluator, const Value& input, const Args&) {
  if (input.is_undefined()) return invalid_argument(std::string(input.undefined_what()));
  if (!input.is_number())
    return invalid_argument(concat("bad operand type for abs(): '", type_name(input), "'"));
  if (input.is_float()) return Value::real(std::abs(input.as_double()));
  if (input.as_int() >= 0) return Value::integer(input.as_int());
  return arithmetic(Op::kSub, Value::integer(0), input, evaluator.budget());
}

constexpr Filter kTextFilters[] = {
    {"upper", upper_filter},   {"lower", lower_filter},   {"capitalize", capitalize_filter},
    {"title", title_filter},   {"trim", trim_filter},     {"replace", replace_filter},
    {"string", string_filter}, {"safe", safe_filter},     {"indent", indent_filter},
    {"format", format_filter}, {"escape", escape_filter}, {"e", escape_filter},
    {"tojson", tojson_filter},
};

constexpr Filter kNumberFilters[] = {
    {"int", int_filter},
    {"float", float_filter},
    {"round", round_filter},
    {"abs", abs_filter},
};

}  // namespace

std::span<const Filter> text_filters() { return kTextFilters; }
std::span<const Filter> number_filters() { return kNumberFilters; }

}  // namespace deepwell::service::jinja
