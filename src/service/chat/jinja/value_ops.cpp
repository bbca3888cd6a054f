// Equality, order and printing of values, by Python's rules.
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "service/chat/jinja/utf8.hpp"
#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

namespace {

Result<bool> equal_sequences(const Sequence& a, const Sequence& b, Budget& budget) {
  if (a.kind != b.kind || a.kind == SequenceKind::kIterator) return &a == &b;
  if (a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    DW_ASSIGN(const bool is_equal, equals(a.items[i], b.items[i], budget));
    if (!is_equal) return false;
  }
  return true;
}

Result<bool> equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    DW_ASSIGN(const Value* other, b.find(key, budget));
    if (other == nullptr) return false;
    DW_ASSIGN(const bool is_equal, equals(value, *other, budget));
    if (!is_equal) return false;
  }
  return true;
}

template <class Number>
int sign_of_difference(Number a, Number b) {
  return a < b ? -1 : (a > b ? 1 : 0);
}

Error not_ordered(const Value& a, const Value& b) {
  return invalid_argument(concat("'<' not supported between instances of '", type_name(a),
                                 "' and '", type_name(b), "'"));
}

void append_hex(std::string& out, char32_t value, int n_digits) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = 4 * (n_digits - 1); shift >= 0; shift -= 4)
    out.push_back(kDigits[(value >> static_cast<unsigned>(shift)) & 0xFU]);
}

/// Characters that Python's repr() escapes although they are text: controls, separators, unassigned marks.
bool is_printable(char32_t c) {
  if (c < 0x20 || (c >= 0x7F && c < 0xA1) || c == 0xAD) return false;
  if (is_space(c)) return c == 0x20;
  return !(c >= 0x200B && c <= 0x200F) && !(c >= 0x2028 && c <= 0x202E) &&
         !(c >= 0x2060 && c <= 0x206F) && !(c >= 0xE000 && c <= 0xF8FF) && c != 0xFEFF &&
         !(c >= 0xFFF0 && c <= 0xFFFB) && c < 0xE0000;
}

void append_text_repr(Text& out, const Text& text) {
  const std::string_view view = text.view();
  const bool use_double =
      view.find('\'') != std::string_view::npos && view.find('"') == std::string_view::npos;
  const char quote = use_double ? '"' : '\'';
  out.append(std::string_view(&quote, 1), Trust::kData);
  for (std::size_t pos = 0; pos < view.size();) {
    const CodePoint c = code_point_at(view, pos);
    std::string escaped;
    if (c.value == static_cast<unsigned char>(quote) || c.value == '\\') {
      escaped = {'\\', static_cast<char>(c.value)};
    } else if (c.value == '\n') {
      escaped = "\\n";
    } else if (c.value == '\r') {
      escaped = "\\r";
    } else if (c.value == '\t') {
      escaped = "\\t";
    } else if (!is_printable(c.value)) {
      escaped = c.value < 0x100 ? "\\x" : (c.value < 0x10000 ? "\\u" : "\\U");
      append_hex(escaped, c.value, c.value < 0x100 ? 2 : (c.value < 0x10000 ? 4 : 8));
    }
    if (escaped.empty()) {
      out.append_slice(text, pos, pos + c.n_bytes);
    } else {
      out.append(escaped, Trust::kData);
    }
    pos += c.n_bytes;
  }
  out.append(std::string_view(&quote, 1), Trust::kData);
}

Status append_items(Text& out, const Sequence& sequence, Budget& budget) {
  bool is_first = true;
  for (const Value& item : sequence.items) {
    if (!is_first) out.append(", ", Trust::kData);
    is_first = false;
    DW_TRY(append_repr(out, item, budget));
  }
  return {};
}

Status append_sequence_repr(Text& out, const Sequence& sequence, Budget& budget) {
  switch (sequence.kind) {
    case SequenceKind::kTuple:
      out.append("(", Trust::kData);
      DW_TRY(append_items(out, sequence, budget));
      out.append(sequence.items.size() == 1 ? ",)" : ")", Trust::kData);
      return {};
    case SequenceKind::kRange:
      out.append(sequence.label, Trust::kData);
      return {};
    case SequenceKind::kIterator:
      out.append(concat("<", sequence.label, " object>"), Trust::kData);
      return {};
    case SequenceKind::kView:
      out.append(concat(sequence.label, "(["), Trust::kData);
      DW_TRY(append_items(out, sequence, budget));
      out.append("])", Trust::kData);
      return {};
    case SequenceKind::kList:
      break;
  }
  out.append("[", Trust::kData);
  DW_TRY(append_items(out, sequence, budget));
  out.append("]", Trust::kData);
  return {};
}

Status append_dict_repr(Text& out, const Dict& dict, Budget& budget) {
  out.append("{", Trust::kData);
  bool is_first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!is_first) out.append(", ", Trust::kData);
    is_first = false;
    DW_TRY(append_repr(out, key, budget));
    out.append(": ", Trust::kData);
    DW_TRY(append_repr(out, value, budget));
  }
  out.append("}", Trust::kData);
  return {};
}

}  // namespace

Result<bool> equals(const Value& a, const Value& b, Budget& budget) {
  DW_TRY(budget.spend(1));
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.is_text() && b.is_text()) {
    DW_TRY(budget.spend(a.as_text().n_bytes() / 16));
    return a.as_text().view() == b.as_text().view();
  }
  if (a.is_sequence() && b.is_sequence())
    return equal_sequences(a.as_sequence(), b.as_sequence(), budget);
  if (a.is_dict() && b.is_dict()) return equal_dicts(a.as_dict(), b.as_dict(), budget);
  return a.is_same(b);
}

Result<int> compare(const Value& a, const Value& b, Budget& budget) {
  DW_TRY(budget.spend(1));
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return sign_of_difference(a.as_int(), b.as_int());
    return sign_of_difference(a.as_double(), b.as_double());
  }
  if (a.is_text() && b.is_text()) {
    DW_TRY(budget.spend(a.as_text().n_bytes() / 16));
    return sign_of_difference(a.as_text().view().compare(b.as_text().view()),
                              0);  // UTF-8 keeps code point order
  }
  if (!a.is_sequence() || !b.is_sequence()) return not_ordered(a, b);
  const Sequence& left = a.as_sequence();
  const Sequence& right = b.as_sequence();
  if (left.kind != right.kind ||
      (left.kind != SequenceKind::kList && left.kind != SequenceKind::kTuple))
    return not_ordered(a, b);
  for (std::size_t i = 0; i < std::min(left.items.size(), right.items.size()); ++i) {
    DW_ASSIGN(const bool is_equal, equals(left.items[i], right.items[i], budget));
    if (!is_equal) return compare(left.items[i], right.items[i], budget);
  }
  return sign_of_difference(left.items.size(), right.items.size());
}

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  // Shortest digits that read back the same, then laid out as Python does: plain from 1e-4 up to 1e16.
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number,
                                 std::chars_format::scientific)
                       .ptr;
  std::string_view spelled(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  std::string out;
  if (spelled.front() == '-') {
    out = "-";
    spelled.remove_prefix(1);
  }
  const std::size_t e = spelled.find('e');
  int exponent = 0;
  const std::size_t digits_at = e + (spelled[e + 1] == '+' ? 2 : 1);
  std::from_chars(spelled.data() + digits_at, spelled.data() + spelled.size(), exponent);
  std::string digits(1, spelled[0]);
  if (e > 2) digits.append(spelled.substr(2, e - 2));
  const auto n_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (n_digits > 1) out += "." + digits.substr(1);
    const int magnitude = std::abs(exponent);
    return concat(out, exponent < 0 ? "e-" : "e+", magnitude < 10 ? "0" : "", magnitude);
  }
  if (exponent < 0)
    return concat(out, "0.", std::string(static_cast<std::size_t>(-exponent - 1), '0'), digits);
  if (n_digits <= exponent + 1)
    return concat(out, digits, std::string(static_cast<std::size_t>(exponent + 1 - n_digits), '0'),
                  ".0");
  const auto whole = static_cast<std::size_t>(exponent + 1);
  return concat(out, digits.substr(0, whole), ".", digits.substr(whole));
}

Status append_repr(Text& out, const Value& value, Budget& budget) {
  DW_TRY(budget.spend(1));
  if (value.is_sequence()) return append_sequence_repr(out, value.as_sequence(), budget);
  if (value.is_dict()) return append_dict_repr(out, value.as_dict(), budget);
  if (value.is_text()) {
    DW_TRY(budget.spend_bytes(value.as_text().n_bytes()));
    append_text_repr(out, value.as_text());
    return budget.spend_bytes(0);
  }
  if (value.is_undefined()) {
    out.append("Undefined", Trust::kData);
    return {};
  }
  DW_ASSIGN(const Text scalar, to_text(value, budget));
  out.append(scalar.view(), Trust::kData);
  return {};
}

Result<Text> to_text(const Value& value, Budget& budget) {
  const auto scalar = [](std::string spelled) {
    return Text(std::move(spelled), Trust::kTemplate);
  };
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return Text();
  if (value.is_none()) return scalar("None");
  if (value.is_bool()) return scalar(value.as_bool() ? "True" : "False");
  if (value.is_int()) return scalar(concat(value.as_int()));
  if (value.is_float()) return scalar(float_repr(value.as_double()));
  if (value.is_namespace()) return scalar("<Namespace>");
  if (value.is_loop()) return scalar("<LoopContext>");
  if (value.is_callable()) return scalar(concat("<function ", value.as_callable().name, ">"));
  Text out;
  DW_TRY(append_repr(out, value, budget));
  DW_TRY(budget.spend_bytes(out.n_bytes()));
  return out;
}

}  // namespace deepwell::service::jinja
