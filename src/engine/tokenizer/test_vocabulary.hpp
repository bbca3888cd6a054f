// Vocabularies for tests: one made in code, and the trained one of tests/golden/tokenizer.
#pragma once

#include <fstream>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "engine/tokenizer/byte_alphabet.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine::testing {

inline void add_token(Vocabulary& vocabulary, std::string_view spelling, TokenKind kind) {
  vocabulary.tokens.push_back(spelling);
  vocabulary.kinds.push_back(kind);
}

/// Adds the merge "left right", and its result as an ordinary token unless it is there.
inline void add_merge(Vocabulary& vocabulary, std::string_view left, std::string_view right) {
  std::string merged(left);
  merged += right;
  bool is_known = false;
  for (const std::string_view token : vocabulary.tokens) is_known = is_known || token == merged;
  if (!is_known) add_token(vocabulary, merged, TokenKind::kNormal);
  vocabulary.merges.push_back(std::string(left) + " " + std::string(right));
}

/// Only the 256 byte tokens: the id of a byte is its value.
inline Vocabulary byte_vocabulary(std::string_view pre) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    add_token(vocabulary, spell_byte(static_cast<std::uint8_t>(byte)), TokenKind::kNormal);
  }
  return vocabulary;
}

/// A few merges and special tokens, whose spellings overlap.
inline Vocabulary tiny_vocabulary(std::string_view pre) {
  Vocabulary vocabulary = byte_vocabulary(pre);
  add_merge(vocabulary, "h", "e");
  add_merge(vocabulary, "l", "l");
  add_merge(vocabulary, "he", "ll");
  add_merge(vocabulary, "Ġ", "w");
  add_merge(vocabulary, "hell", "o");
  add_merge(vocabulary, "Ġ", "Ġ");
  add_merge(vocabulary, "i", "m");
  add_merge(vocabulary, "ä", "½");  // the first two bytes of U+4F60
  add_merge(vocabulary, "<", "|");
  add_merge(vocabulary, "|", ">");
  for (const char* spelling : {"<|im_start|>", "<|im_end|>", "<|a|>", "<|a|>b"}) {
    add_token(vocabulary, spelling, TokenKind::kControl);
  }
  add_token(vocabulary, "<think>", TokenKind::kUserDefined);
  add_token(vocabulary, "</think>", TokenKind::kUserDefined);
  return vocabulary;
}

/// tests/golden/tokenizer/small.vocab; its sections are explained in make_golden.py. Empty if it
/// cannot be read.
inline Vocabulary small_vocabulary(const std::string& path, std::string_view pre) {
  Vocabulary vocabulary = byte_vocabulary(pre);
  std::unordered_set<std::string> known;
  std::ifstream file(path);
  if (!file) return {};
  std::string section;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("# ") && section.empty()) continue;
    const std::size_t space = line.find(' ');
    if (line.starts_with("[") && line.ends_with("]") && space == std::string::npos) {
      section = line;
    } else if (section == "[merges]") {
      std::string merged = line;
      merged.erase(space, 1);
      if (known.insert(merged).second) add_token(vocabulary, merged, TokenKind::kNormal);
      vocabulary.merges.push_back(line);
    } else {
      add_token(vocabulary, line,
                section == "[words]"     ? TokenKind::kNormal
                : section == "[control]" ? TokenKind::kControl
                                         : TokenKind::kUserDefined);
    }
  }
  return vocabulary;
}

}  // namespace deepwell::engine::testing
