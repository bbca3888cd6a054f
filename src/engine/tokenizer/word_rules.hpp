// The scanner of the GPT-2 and cl100k families of word expressions, ruled by a few constants.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "engine/tokenizer/pretokenizer.hpp"

namespace deepwell::engine {

/// The differences between the regular expressions of both families. Alternatives are tried in this
/// order:
///   's|'t|'re|'ve|'m|'ll|'d                            an English ending
///   PREFIX? WORD+                                      a word
///   \p{N}{1,n}                                         a number
///    ?[^\s WORD \p{N}]+ [\r\n]*                        other characters
///   \s*[\r\n]+ | \s+(?!\S) | \s+                       white space
struct WordRules {
  /// Endings match in any case ((?i:...), so the long s too); else in lower case only.
  bool is_any_case = true;
  /// What WORD is made of.
  CharClasses word = kLetter;
  /// PREFIX is any character but a line break, letter or number; else it is a space.
  bool is_any_prefix = true;
  /// The most characters of one number.
  std::size_t n_max_digits = 1;
  /// A number may take a space before it.
  bool is_space_before_number = false;
  /// Text is first cut around each number, and the parts know nothing of each other.
  bool is_cut_at_numbers = false;
  /// Line breaks end a piece: after other characters, and in white space.
  bool is_ended_by_newlines = true;
};

inline constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

namespace word_rules {

using Chars = std::span<const Char>;

/// The end of the run of characters with (or, if `!is_in`, without) any of `classes` that starts at
/// `begin`.
inline std::size_t run_end(Chars chars, std::size_t begin, CharClasses classes, bool is_in = true) {
  std::size_t end = begin;
  while (end < chars.size() && chars[end].is(classes) == is_in) ++end;
  return end;
}

/// ASCII lower case of c if `is_any_case`. U+017F is the only other character that folds into one
/// of the letters of the endings.
inline char32_t fold(char32_t c, bool is_any_case) {
  if (!is_any_case) return c;
  if (c >= U'A' && c <= U'Z') return c + (U'a' - U'A');
  return c == U'\u017F' ? U's' : c;
}

/// The length of the English ending at the apostrophe chars[0], or 0.
inline std::size_t len_ending(Chars chars, bool is_any_case) {
  if (chars.size() < 2) return 0;
  const char32_t a = fold(chars[1].code_point, is_any_case);
  if (a == U's' || a == U't' || a == U'm' || a == U'd') return 2;
  if (chars.size() < 3) return 0;
  const char32_t b = fold(chars[2].code_point, is_any_case);
  const bool is_ending =
      (a == U'r' && b == U'e') || (a == U'v' && b == U'e') || (a == U'l' && b == U'l');
  return is_ending ? 3 : 0;
}

/// The length of the piece of white space at chars[0].
inline std::size_t len_space(Chars chars, const WordRules& rules) {
  const std::size_t end = run_end(chars, 0, kSpace);
  if (rules.is_ended_by_newlines) {
    for (std::size_t i = end; i > 0; --i) {
      if (chars[i - 1].is(kNewline)) return i;
    }
  }
  const bool is_last = end == chars.size() || (rules.is_cut_at_numbers && chars[end].is(kNumber));
  return (is_last || end == 1) ? end : end - 1;
}

}  // namespace word_rules

/// PreTokenizer::len_word for the given rules.
template <WordRules kRules>
std::size_t len_word_by_rules(std::span<const Char> rest) {
  using namespace word_rules;
  constexpr CharClasses kWordOrNumber = kRules.word | kNumber;
  constexpr CharClasses kNotOther = kWordOrNumber | kSpace;
  const Char& first = rest[0];
  if (first.code_point == U'\'') {
    if (const std::size_t len = len_ending(rest, kRules.is_any_case); len > 0) return len;
  }
  if (first.is(kRules.word)) return run_end(rest, 0, kRules.word);
  if (first.is(kNumber)) {
    return run_end(rest.first(std::min(rest.size(), kRules.n_max_digits)), 0, kNumber);
  }
  const bool is_space = first.code_point == U' ';
  if (rest.size() > 1) {
    const bool is_prefix =
        kRules.is_any_prefix ? !first.is(kNewline | kLetter | kNumber) : is_space;
    if (is_prefix && rest[1].is(kRules.word)) return run_end(rest, 1, kRules.word);
    if (kRules.is_space_before_number && is_space && rest[1].is(kNumber))
      return run_end(rest, 1, kNumber);
  }
  const bool takes_space = is_space && rest.size() > 1 && !rest[1].is(kNotOther);
  if (takes_space || !first.is(kSpace)) {
    const std::size_t end = run_end(rest, 1, kNotOther, false);
    return kRules.is_ended_by_newlines ? run_end(rest, end, kNewline) : end;
  }
  return len_space(rest, kRules);
}

}  // namespace deepwell::engine
