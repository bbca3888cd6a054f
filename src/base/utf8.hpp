// UTF-8: validity, code points, and the columns a text takes on a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace deepwell {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD in UTF-8

/// What a text of arbitrary bytes starts with.
struct Utf8Step {
  enum class Kind : std::uint8_t {
    kCharacter,   // `n_bytes` bytes are `code_point`
    kInvalid,     // `n_bytes` bytes can never become a character, whatever follows
    kIncomplete,  // the text ends inside what may be a character; `n_bytes` reach to the end
  };
  Kind kind;
  std::uint8_t
      n_bytes;          // 1 to 4; a "maximal subpart" (Unicode 16, section 3.9.6) unless kCharacter
  char32_t code_point;  // of kCharacter, else 0
};

/// The step at the start of `bytes`, which must not be empty. For streams: next_utf8() cannot tell a
/// character that is wrong from one that is not complete yet.
Utf8Step utf8_step(std::string_view bytes) noexcept;

/// One decoded character.
struct Utf8Char {
  char32_t code_point = 0;  // U+FFFD if the bytes are not valid UTF-8
  std::size_t n_bytes = 0;  // consumed, at least 1 for a non-empty text; 0 only at the end
  bool is_valid = false;
};

/// Decodes the first character of `text` (RFC 3629: no surrogates, no overlong forms, at most
/// U+10FFFF). An invalid sequence consumes one byte.
Utf8Char next_utf8(std::string_view text);

bool is_valid_utf8(std::string_view text);

/// `text` with every invalid byte replaced by U+FFFD.
std::string sanitized_utf8(std::string_view text);

/// Columns on a terminal: 2 for East Asian wide characters and emoji, 0 for combining marks, else 1
/// (the ranges of Unicode TR11 that matter for Chinese, Japanese and Korean text; not a full
/// table).
std::size_t display_width(std::string_view text);

}  // namespace deepwell
