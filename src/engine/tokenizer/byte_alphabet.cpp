// The byte alphabet, computed once at compile time.
#include "engine/tokenizer/byte_alphabet.hpp"

#include <array>

#include "base/utf8.hpp"

namespace deepwell::engine {
namespace {

constexpr std::size_t kNBytes = 256;
constexpr char32_t kFirstStandIn = 0x100;
constexpr std::size_t kNStandIns = 68;  // bytes that are not visible characters

constexpr bool is_visible(std::size_t byte) {
  return (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
}

struct Alphabet {
  std::array<char32_t, kNBytes> char_of_byte{};
  std::array<std::int16_t, kFirstStandIn + kNStandIns> byte_of_char{};  // -1: not in the alphabet
};

constexpr Alphabet kAlphabet = [] {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of_char) byte = -1;
  char32_t next_stand_in = kFirstStandIn;
  for (std::size_t byte = 0; byte < kNBytes; ++byte) {
    const char32_t c = is_visible(byte) ? static_cast<char32_t>(byte) : next_stand_in++;
    alphabet.char_of_byte[byte] = c;
    alphabet.byte_of_char[c] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}();

}  // namespace

std::string spell_byte(std::uint8_t byte) {
  const char32_t c = kAlphabet.char_of_byte[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
}

std::string unspell_bytes(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  for (std::string_view rest = spelling; !rest.empty();) {
    const Utf8Step step = utf8_step(rest);
    const bool is_known = step.kind == Utf8Step::Kind::kCharacter &&
                          step.code_point < kAlphabet.byte_of_char.size() &&
                          kAlphabet.byte_of_char[step.code_point] >= 0;
    if (!is_known) return std::string(spelling);
    bytes.push_back(static_cast<char>(kAlphabet.byte_of_char[step.code_point]));
    rest.remove_prefix(step.n_bytes);
  }
  return bytes;
}

}  // namespace deepwell::engine
