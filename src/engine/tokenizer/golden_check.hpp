// Compares a tokenizer with tests/golden/tokenizer/NAME.ids; make_golden.py explains the files.
#pragma once

#include <gtest/gtest.h>

#include <charconv>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/pretokenizer.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine::testing {

inline std::string golden_path(std::string_view file) {
  return std::string(DEEPWELL_SOURCE_DIR "/tests/golden/tokenizer/").append(file);
}

inline std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

inline void append_utf8(char32_t c, std::string& text) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto put_tail = [&](int shift) { put(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xC0 | c >> 6), put_tail(0);
  if (c < 0x10000) return put(0xE0 | c >> 12), put_tail(6), put_tail(0);
  put(0xF0 | c >> 18), put_tail(12), put_tail(6), put_tail(0);
}

/// Undoes the escapes of strings.txt: \\ \n \r \t \u{HEX}.
inline std::string unescape(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\') {
      text.push_back(line[i]);
      continue;
    }
    const char kind = line[++i];
    if (kind == 'u') {
      const std::size_t close = line.find('}', i);
      unsigned code_point = 0;
      std::from_chars(line.data() + i + 2, line.data() + close, code_point, 16);
      append_utf8(code_point, text);
      i = close;
    } else {
      text.push_back(kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind);
    }
  }
  return text;
}

/// FNV-1a, 64 bits, over the ids as little-endian 32-bit numbers, in hexadecimal.
inline std::string hash_of(const std::vector<TokenId>& ids) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<std::uint32_t>(id) >> shift & 0xFFU)) * 0x100000001B3U;
    }
  }
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

inline std::string joined(const std::vector<TokenId>& ids) {
  std::string text;
  for (const TokenId id : ids) text += " " + std::to_string(id);
  return text;
}

/// The lengths in bytes of the words of `text`.
inline std::vector<std::int32_t> word_lengths(const PreTokenizer& pretokenizer,
                                              std::string_view text) {
  std::vector<Char> chars;
  split_chars(text, chars);
  std::vector<std::int32_t> lengths;
  std::span<const Char> rest = chars;
  while (!rest.empty()) {
    const std::size_t len = pretokenizer.len_word(rest);
    std::int32_t n_bytes = 0;
    for (const Char& c : rest.first(len)) n_bytes += c.n_bytes;
    lengths.push_back(n_bytes);
    rest = rest.subspan(len);
  }
  return lengths;
}

/// Every string must be cut into the words of the library.
inline void check_golden_words(const PreTokenizer& pretokenizer) {
  const std::vector<std::string> strings = read_lines(golden_path("strings.txt"));
  const std::string name = std::string(pretokenizer.name) + ".words";
  const std::vector<std::string> goldens = read_lines(golden_path(name));
  ASSERT_EQ(goldens.size(), strings.size() + 1) << name << " does not belong to strings.txt";
  ASSERT_GE(strings.size(), 3000U);
  for (std::size_t i = 0; i < strings.size(); ++i) {
    const std::vector<std::int32_t> lengths = word_lengths(pretokenizer, unescape(strings[i]));
    EXPECT_EQ(hash_of(lengths), goldens[i + 1])
        << name << ", line " << i + 1 << ": " << strings[i] << "\nlengths" << joined(lengths);
  }
}

/// Every string's ids, with and without special tokens, must be those of the library. A failure
/// names the string.
inline void check_golden(const Tokenizer& tokenizer, const std::string& name) {
  const std::vector<std::string> strings = read_lines(golden_path("strings.txt"));
  const std::vector<std::string> goldens = read_lines(golden_path(name + ".ids"));
  ASSERT_EQ(goldens.size(), strings.size() + 1) << name << ".ids does not belong to strings.txt";
  std::size_t n_checked = 0;
  std::size_t n_wrong = 0;
  for (std::size_t i = 0; i < strings.size() && n_wrong < 10; ++i) {
    const std::string& golden = goldens[i + 1];
    if (golden == "-") continue;
    const std::string text = unescape(strings[i]);
    const std::vector<TokenId> plain = tokenizer.encode(text);
    const std::vector<TokenId> special = tokenizer.encode_with_specials(text);
    std::string actual = hash_of(plain);
    if (special != plain) actual += " " + hash_of(special);
    if (golden.find(" :") != std::string::npos)
      actual += " :" + (plain.empty() ? " " : joined(plain));
    ++n_checked;
    if (actual != golden) ++n_wrong;
    EXPECT_EQ(actual, golden) << name << ", line " << i + 1 << ": " << strings[i] << "\nids"
                              << joined(plain) << "\nspecial" << joined(special);
    EXPECT_EQ(tokenizer.decode(plain), text);
  }
  EXPECT_GE(n_checked, 3000U);
}

}  // namespace deepwell::engine::testing
