// UTF-8 by code points, and the ASCII case and white-space rules that templates need.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace deepwell::service::jinja {

/// One code point read from a byte position. A byte that starts no valid sequence counts as one
/// character, U+FFFD.
struct CodePoint {
  char32_t value = 0;
  std::size_t n_bytes = 1;
};

CodePoint code_point_at(std::string_view text, std::size_t pos);
std::size_t n_code_points(std::string_view text);
/// Byte position of the code point with this index; text.size() if there are fewer.
std::size_t byte_position(std::string_view text, std::size_t index);
void append_utf8(std::string& out, char32_t code_point);

/// White space as Python's str.isspace() and `\s` see it.
bool is_space(char32_t c);
/// Characters that end a line for Python's str.splitlines(); "\r\n" counts as one end.
bool is_line_end(char32_t c);

// Case mapping is ASCII only: other letters stay as they are.
constexpr bool is_upper_ascii(char32_t c) { return c >= U'A' && c <= U'Z'; }
constexpr bool is_lower_ascii(char32_t c) { return c >= U'a' && c <= U'z'; }
constexpr char to_upper_ascii(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}
constexpr char to_lower_ascii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
constexpr bool is_digit_ascii(char c) { return c >= '0' && c <= '9'; }

/// Byte range [begin, end) of the text without leading and trailing white space.
struct ByteRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};
ByteRange trimmed(std::string_view text, bool left = true, bool right = true);

}  // namespace deepwell::service::jinja
