// Classes of Unicode characters: what the pre-tokenizers' regular expressions ask about a
// character.
#pragma once

#include <cstdint>

namespace deepwell::engine {

/// A set of the CharClass bits below.
using CharClasses = std::uint8_t;

enum CharClass : CharClasses {
  kOther = 0,        // none of the below: controls, formats, unassigned, bytes that are not UTF-8
  kLetter = 1,       // \p{L}
  kMark = 2,         // \p{M}
  kNumber = 4,       // \p{N}: Nd, Nl and No
  kPunctuation = 8,  // \p{P}
  kSymbol = 16,      // \p{S}
  kSpace = 32,       // \s: the property White_Space
  kNewline = 64,     // CR or LF; both are kSpace too
};

/// The classes of a code point; kOther from 0x110000 on. Unicode 16.0.
CharClasses char_classes(char32_t code_point) noexcept;

}  // namespace deepwell::engine
