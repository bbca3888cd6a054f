// UTF-8 of bytes that may be anything: one step at a time, never past an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace deepwell::engine {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD in UTF-8

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

/// What `bytes`, which must not be empty, starts with. Surrogates, overlong forms and code points
/// above U+10FFFF are kInvalid.
Utf8Step utf8_step(std::string_view bytes) noexcept;

}  // namespace deepwell::engine
