// UTF-8 decoding by table 3-7 of the Unicode Standard ("Well-Formed UTF-8 Byte Sequences").
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

/// What a lead byte says: the length of its character and the range allowed for the second byte.
/// The second byte alone excludes overlong forms, surrogates and everything above U+10FFFF.
struct Lead {
  std::uint8_t n_bytes;  // 0: not a lead byte
  std::uint8_t second_min;
  std::uint8_t second_max;
};

Lead lead_of(std::uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step utf8_step(std::string_view bytes) noexcept {
  using Kind = Utf8Step::Kind;
  const auto first = static_cast<std::uint8_t>(bytes[0]);
  if (first < 0x80) return {Kind::kCharacter, 1, first};
  const Lead lead = lead_of(first);
  if (lead.n_bytes == 0) return {Kind::kInvalid, 1, 0};
  char32_t code_point = first & (0x7FU >> lead.n_bytes);
  std::uint8_t min = lead.second_min;
  std::uint8_t max = lead.second_max;
  for (std::uint8_t i = 1; i < lead.n_bytes; ++i) {
    if (i == bytes.size()) return {Kind::kIncomplete, i, 0};
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    if (byte < min || byte > max) return {Kind::kInvalid, i, 0};
    code_point = code_point << 6 | (byte & 0x3FU);
    min = 0x80;
    max = 0xBF;
  }
  return {Kind::kCharacter, lead.n_bytes, code_point};
}

Utf8Char next_utf8(std::string_view text) {
  if (text.empty()) return {};
  const Utf8Step step = utf8_step(text);
  if (step.kind != Utf8Step::Kind::kCharacter)
    return {.code_point = 0xFFFD, .n_bytes = 1, .is_valid = false};
  return {.code_point = step.code_point, .n_bytes = step.n_bytes, .is_valid = true};
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
    out.append(next.is_valid ? text.substr(0, next.n_bytes) : kReplacementCharacter);
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
