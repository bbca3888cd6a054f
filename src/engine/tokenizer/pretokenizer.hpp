// PreTokenizer: how a family of models cuts text into words before BPE. One table entry or one file
// each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/tokenizer/char_class.hpp"

namespace deepwell::engine {

/// A character of the text, or one byte of it that is not UTF-8 (then kOther, and no code point).
struct Char {
  char32_t code_point;
  CharClasses classes;
  std::uint8_t n_bytes;

  bool is(CharClasses any_of) const { return (classes & any_of) != 0; }
};

struct PreTokenizer {
  std::string_view name;  // the value of the GGUF key tokenizer.ggml.pre
  /// The number of characters, at least 1, of the word that `rest` (never empty) starts with.
  /// Its cost is amortised: cutting a whole text takes time linear in its length.
  std::size_t (*len_word)(std::span<const Char> rest);
  /// A word that is a token as it stands is taken whole, without merging ("ignore_merges").
  bool takes_whole_words = false;
  /// Whether models with this pre-tokenizer want a BOS token when their file does not say.
  bool adds_bos = false;
};

/// The entry of that name, or nullptr.
const PreTokenizer* find_pretokenizer(std::string_view name);

std::span<const PreTokenizer> pretokenizers();

/// Replaces the content of `chars` by the characters of `text`.
void split_chars(std::string_view text, std::vector<Char>& chars);

}  // namespace deepwell::engine
