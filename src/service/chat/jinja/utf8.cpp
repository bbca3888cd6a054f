// Positions and ranges by code points, and encoding.
#include "service/chat/jinja/utf8.hpp"

#include "base/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

bool is_continuation(unsigned char byte) { return (byte & 0xC0U) == 0x80U; }

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t pos) {
  const Utf8Char c = next_utf8(text.substr(pos));
  return {c.code_point, c.n_bytes};
}

std::size_t n_code_points(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t pos = 0; pos < text.size(); ++n) pos += code_point_at(text, pos).n_bytes;
  return n;
}

std::size_t byte_position(std::string_view text, std::size_t index) {
  std::size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) pos += code_point_at(text, pos).n_bytes;
  return pos;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80U) {
    put(c);
  } else if (c < 0x800U) {
    put(0xC0U | (c >> 6U));
    put(0x80U | (c & 0x3FU));
  } else if (c < 0x10000U) {
    put(0xE0U | (c >> 12U));
    put(0x80U | ((c >> 6U) & 0x3FU));
    put(0x80U | (c & 0x3FU));
  } else {
    put(0xF0U | (c >> 18U));
    put(0x80U | ((c >> 12U) & 0x3FU));
    put(0x80U | ((c >> 6U) & 0x3FU));
    put(0x80U | (c & 0x3FU));
  }
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

ByteRange trimmed(std::string_view text, bool left, bool right) {
  ByteRange range{0, text.size()};
  while (left && range.begin < text.size()) {
    const CodePoint c = code_point_at(text, range.begin);
    if (!is_space(c.value)) break;
    range.begin += c.n_bytes;
  }
  while (right && range.end > range.begin) {
    std::size_t start = range.end - 1;
    while (start > range.begin && is_continuation(static_cast<unsigned char>(text[start]))) --start;
    const CodePoint c = code_point_at(text, start);
    if (start + c.n_bytes != range.end || !is_space(c.value)) break;
    range.end = start;
  }
  return range;
}

}  // namespace deepwell::service::jinja
