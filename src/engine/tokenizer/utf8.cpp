// Decodes by table 3-7 of the Unicode Standard ("Well-Formed UTF-8 Byte Sequences").
#include "engine/tokenizer/utf8.hpp"

namespace deepwell::engine {
namespace {

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

}  // namespace deepwell::engine
