// The printable alphabet in which byte-level vocabularies spell the 256 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace deepwell::engine {

/// The character, in UTF-8, that stands for a byte: itself where that is a visible Latin-1
/// character, else U+0100 and up in the order of the bytes (GPT-2, Radford et al. 2019; a space is
/// "Ġ", a line feed "Ċ").
std::string spell_byte(std::uint8_t byte);

/// The bytes that a vocabulary's spelling stands for: by convention itself, if it has a character
/// outside the alphabet.
std::string unspell_bytes(std::string_view spelling);

}  // namespace deepwell::engine
