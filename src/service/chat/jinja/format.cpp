// Python's two ways to put values into a string: "%s" % x and "{}".format(x).
#include <algorithm>
#include <array>
#include <cstdio>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

/// One "%..." of a format string.
struct Conversion {
  std::string key;  // of %(key)s
  bool has_key = false;
  bool use_left = false;
  bool use_zeros = false;
  bool use_sign = false;
  bool use_space = false;
  std::size_t width = 0;
  int precision = -1;
  char type = 's';
};

constexpr std::size_t kMaxWidth = 1000;

/// Reads digits at `pos`; more than kMaxWidth is kMaxWidth + 1.
std::size_t read_number(std::string_view format, std::size_t& pos) {
  std::size_t number = 0;
  for (; pos < format.size() && is_digit_ascii(format[pos]); ++pos) {
    number = std::min(number * 10 + static_cast<std::size_t>(format[pos] - '0'), kMaxWidth + 1);
  }
  return number;
}

/// Parses what follows a '%' at `pos`, which ends after the type.
Result<Conversion> parse_conversion(std::string_view format, std::size_t& pos) {
  Conversion conversion;
  if (pos < format.size() && format[pos] == '(') {
    const std::size_t end = format.find(')', pos);
    if (end == std::string_view::npos) return invalid_argument("incomplete format key");
    conversion.key = std::string(format.substr(pos + 1, end - pos - 1));
    conversion.has_key = true;
    pos = end + 1;
  }
  for (;
       pos < format.size() && std::string_view("-0+ #").find(format[pos]) != std::string_view::npos;
       ++pos) {
    if (format[pos] == '-') conversion.use_left = true;
    if (format[pos] == '0') conversion.use_zeros = true;
    if (format[pos] == '+') conversion.use_sign = true;
    if (format[pos] == ' ') conversion.use_space = true;
  }
  conversion.width = read_number(format, pos);
  if (pos < format.size() && format[pos] == '.') {
    ++pos;
    conversion.precision = static_cast<int>(read_number(format, pos));
  }
  if (conversion.width > kMaxWidth || conversion.precision > static_cast<int>(kMaxWidth)) {
    return invalid_argument(concat("a format width above ", kMaxWidth));
  }
  if (pos >= format.size()) return invalid_argument("incomplete format");
  conversion.type = format[pos++];
  return conversion;
}

Result<Text> convert_number(const Conversion& conversion, const Value& value) {
  if (value.is_undefined()) return invalid_argument(std::string(value.undefined_what()));
  if (!value.is_number())
    return invalid_argument(
        concat("%", conversion.type, " format: a number is required, not ", type_name(value)));
  const std::string_view sign = conversion.use_sign ? "+" : (conversion.use_space ? " " : "");
  std::array<char, 1400> buffer{};
  const bool is_real = std::string_view("feEgG").find(conversion.type) != std::string_view::npos;
  int n = 0;
  if (is_real) {
    const std::string pattern = concat("%", sign, ".*", conversion.type);
    const int precision = conversion.precision < 0 ? 6 : conversion.precision;
    n = std::snprintf(buffer.data(), buffer.size(), pattern.c_str(), precision,
                      value.as_double());  // NOLINT(cert-err33-c)
  } else {
    const double number = value.as_double();
    if (value.is_float() && !(number > -9.2e18 && number < 9.2e18))
      return invalid_argument("the number does not fit 64 bits");
    const std::int64_t whole =
        value.is_float() ? static_cast<std::int64_t>(number) : value.as_int();
    const bool is_negative = whole < 0;
    const auto magnitude = is_negative ? 0 - static_cast<unsigned long long>(whole)
                                       : static_cast<unsigned long long>(whole);
    const char type = conversion.type == 'd' || conversion.type == 'i' ? 'u' : conversion.type;
    const std::string pattern = concat(is_negative ? "-" : sign, "%.*ll", type);
    n = std::snprintf(buffer.data(), buffer.size(), pattern.c_str(),
                      std::max(conversion.precision, 1), magnitude);  // NOLINT(cert-err33-c)
  }
  if (n < 0 || static_cast<std::size_t>(n) >= buffer.size())
    return invalid_argument("a formatted number is too long");
  return Text(std::string(buffer.data(), static_cast<std::size_t>(n)), Trust::kTemplate);
}

Result<Text> convert(const Conversion& conversion, const Value& value, Budget& budget) {
  if (conversion.type == 's' || conversion.type == 'r') {
    Text text;
    if (conversion.type == 's') {
      DW_ASSIGN(text, to_text(value, budget));
    } else {
      DW_TRY(append_repr(text, value, budget));
    }
    DW_TRY(budget.spend_bytes(text.n_bytes()));
    if (conversion.precision < 0) return text;
    return text.slice(0,
                      byte_position(text.view(), static_cast<std::size_t>(conversion.precision)));
  }
  if (std::string_view("diuxXofeEgG").find(conversion.type) != std::string_view::npos)
    return convert_number(conversion, value);
  return invalid_argument(concat("unsupported format character '", conversion.type, "'"));
}

void append_padded(Text& out, const Text& text, const Conversion& conversion) {
  const std::size_t n_characters = n_code_points(text.view());
  const std::size_t n_padding =
      conversion.width > n_characters ? conversion.width - n_characters : 0;
  const bool is_number = conversion.type != 's' && conversion.type != 'r';
  if (conversion.use_left) {
    out.append(text);
    out.append(std::string(n_padding, ' '), Trust::kTemplate);
  } else if (conversion.use_zeros && is_number && n_padding > 0) {
    const bool has_sign =
        !text.empty() && std::string_view("+- ").find(text.view()[0]) != std::string_view::npos;
    out.append_slice(text, 0, has_sign ? 1 : 0);
    out.append(std::string(n_padding, '0'), Trust::kTemplate);
    out.append_slice(text, has_sign ? 1 : 0, text.n_bytes());
  } else {
    out.append(std::string(n_padding, ' '), Trust::kTemplate);
    out.append(text);
  }
}

/// Hands out the values of a percent format in order, or by key out of a mapping.
class Supply {
 public:
  explicit Supply(const Value& arguments) : arguments_(arguments) {
    is_tuple_ = arguments.is_sequence() && arguments.as_sequence().kind == SequenceKind::kTuple;
  }

  Result<Value> take(const Conversion& conversion) {
    if (conversion.has_key) {
      if (!arguments_.is_dict()) return invalid_argument("format requires a mapping");
      const Value* value = arguments_.as_dict().find(conversion.key);
      if (value == nullptr) return invalid_argument(concat("'", conversion.key, "'"));
      return *value;
    }
    const std::size_t n_values = is_tuple_ ? arguments_.as_sequence().items.size() : 1;
    if (n_taken_ >= n_values) return invalid_argument("not enough arguments for format string");
    ++n_taken_;
    return is_tuple_ ? arguments_.as_sequence().items[n_taken_ - 1] : arguments_;
  }

  Status finish() const {
    const bool is_complete = is_tuple_ ? n_taken_ == arguments_.as_sequence().items.size()
                                       : n_taken_ == 1 || arguments_.is_dict() ||
                                             (arguments_.is_sequence() && n_taken_ == 0);
    if (is_complete) return {};
    return invalid_argument("not all arguments converted during string formatting");
  }

 private:
  const Value& arguments_;
  bool is_tuple_ = false;
  std::size_t n_taken_ = 0;
};

/// The value of one "{field}": a position or a name. `next_auto` counts empty fields.
Result<Value> field_value(std::string_view field, const Args& args, std::size_t& next_auto) {
  if (field.empty() || std::all_of(field.begin(), field.end(), is_digit_ascii)) {
    std::size_t pos = 0;
    const std::size_t index = field.empty() ? next_auto++ : read_number(field, pos);
    if (index >= args.positional.size())
      return invalid_argument(
          concat("replacement index ", index, " out of range for positional args"));
    return args.positional[index];
  }
  for (const auto& [name, value] : args.named) {
    if (name == field) return value;
  }
  return invalid_argument(concat("format() has no value for the field '", field, "'"));
}

}  // namespace

Result<Text> percent_format(const Text& format, const Value& arguments, Budget& budget) {
  Supply supply(arguments);
  Text out;
  const std::string_view view = format.view();
  for (std::size_t pos = 0; pos < view.size();) {
    const std::size_t percent = std::min(view.find('%', pos), view.size());
    out.append_slice(format, pos, percent);
    if (percent == view.size()) break;
    pos = percent + 1;
    if (pos < view.size() && view[pos] == '%') {
      out.append_slice(format, pos, pos + 1);
      ++pos;
      continue;
    }
    DW_ASSIGN(const Conversion conversion, parse_conversion(view, pos));
    DW_ASSIGN(const Value value, supply.take(conversion));
    DW_ASSIGN(const Text text, convert(conversion, value, budget));
    DW_TRY(budget.spend_bytes(text.n_bytes() + conversion.width));
    append_padded(out, text, conversion);
  }
  DW_TRY(supply.finish());
  DW_TRY(budget.spend_bytes(out.n_bytes()));
  return out;
}

Result<Text> brace_format(const Text& format, const Args& args, Evaluator& evaluator) {
  Budget& budget = evaluator.budget();
  Text out;
  std::size_t next_auto = 0;
  const std::string_view view = format.view();
  for (std::size_t pos = 0; pos < view.size();) {
    const char c = view[pos];
    const bool is_doubled = pos + 1 < view.size() && view[pos + 1] == c;
    if (c != '{' && c != '}') {
      const std::size_t end = std::min(view.find_first_of("{}", pos), view.size());
      out.append_slice(format, pos, end);
      pos = end;
    } else if (is_doubled) {
      out.append_slice(format, pos, pos + 1);
      pos += 2;
    } else {
      const std::size_t end = view.find('}', pos);
      if (c == '}' || end == std::string_view::npos)
        return invalid_argument(concat("single '", c, "' encountered in format string"));
      const std::string_view field = view.substr(pos + 1, end - pos - 1);
      if (field.find_first_of(":![.{") != std::string_view::npos) {
        return invalid_argument(concat("the format field '{", field,
                                       "}' is not supported; use a plain name or number"));
      }
      DW_ASSIGN(const Value value, field_value(field, args, next_auto));
      DW_ASSIGN(const Text text, to_text(value, budget));
      DW_TRY(budget.spend_bytes(text.n_bytes()));
      out.append(text);
      pos = end + 1;
    }
  }
  DW_TRY(budget.spend_bytes(out.n_bytes()));
  return out;
}

}  // namespace deepwell::service::jinja
