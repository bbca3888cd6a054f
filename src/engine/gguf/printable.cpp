// Escaping text of unknown origin for messages.
#include "engine/gguf/printable.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::engine::gguf {
namespace {

/// The length of the valid UTF-8 sequence at the start of `text`; 0 if there is none or it is a
/// control character. Overlong forms and surrogates pass: this only decides what is printed as it
/// is.
std::size_t len_printable(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) {
    return first >= 0x20 && first != 0x7F ? 1 : 0;
  }
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) {
      return 0;
    }
  }
  return length;
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = len_printable(text.substr(i));
    if (i + std::max<std::size_t>(length, 1) > max_bytes) {
      out += "...";
      break;
    }
    if (text[i] == '"' || text[i] == '\\') {
      out += concat('\\', text[i++]);
    } else if (length == 0) {
      const auto byte = static_cast<unsigned char>(text[i++]);
      out += byte == '\n' ? "\\n" : concat("\\x", kHex[byte >> 4], kHex[byte & 15]);
    } else {
      out += text.substr(i, length);
      i += length;
    }
  }
  return out;
}

}  // namespace deepwell::engine::gguf
