// UTF-8 decoding by the table of RFC 3629 section 4.
#include "base/utf8.hpp"

#include <array>

namespace deepwell {

namespace {

struct Range {
  char32_t first;
  char32_t last;
};

constexpr std::array kWide = {
    Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0x33FF},
    Range{0x3400, 0x4DBF},   Range{0x4E00, 0x9FFF},   Range{0xA000, 0xA4CF},
    Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},   Range{0xFE30, 0xFE6F},
    Range{0xFF00, 0xFF60},   Range{0xFFE0, 0xFFE6},   Range{0x1F300, 0x1F64F},
    Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF}, Range{0x20000, 0x3FFFD},
};
constexpr std::array kZero = {Range{0x0300, 0x036F}, Range{0x200B, 0x200F}, Range{0x20D0, 0x20FF},
                              Range{0xFE00, 0xFE0F}};

template <std::size_t N>
bool is_in(const std::array<Range, N>& ranges, char32_t code_point) {
  for (const Range& range : ranges) {
    if (code_point >= range.first && code_point <= range.last) return true;
  }
  return false;
}

}  // namespace

Utf8Char next_utf8(std::string_view text) {
  constexpr char32_t kReplacement = 0xFFFD;
  if (text.empty()) return {};
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};

  std::size_t n_bytes = 0;
  char32_t code_point = 0;
  char32_t smallest = 0;  // below it the form is overlong
  if (lead >= 0xC2 && lead <= 0xDF) {
    n_bytes = 2, code_point = lead & 0x1FU, smallest = 0x80;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    n_bytes = 3, code_point = lead & 0x0FU, smallest = 0x800;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    n_bytes = 4, code_point = lead & 0x07U, smallest = 0x10000;
  } else {
    return {kReplacement, 1, false};
  }
  if (text.size() < n_bytes) return {kReplacement, 1, false};
  for (std::size_t i = 1; i < n_bytes; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {kReplacement, 1, false};
    code_point = (code_point << 6U) | (byte(i) & 0x3FU);
  }
  const bool is_surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < smallest || code_point > 0x10FFFF || is_surrogate) {
    return {kReplacement, 1, false};
  }
  return {code_point, n_bytes, true};
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char next = next_utf8(text);
    if (!next.is_valid) return false;
    text.remove_prefix(next.n_bytes);
  }
  return true;
}

std::string sanitized_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Char next = next_utf8(text);
    out.append(next.is_valid ? text.substr(0, next.n_bytes) : std::string_view("\xEF\xBF\xBD"));
    text.remove_prefix(next.n_bytes);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t n_columns = 0;
  while (!text.empty()) {
    const Utf8Char next = next_utf8(text);
    text.remove_prefix(next.n_bytes);
    if (is_in(kZero, next.code_point)) continue;
    n_columns += is_in(kWide, next.code_point) ? 2 : 1;
  }
  return n_columns;
}

}  // namespace deepwell
