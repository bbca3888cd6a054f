// Words, characters and character classes. The comparison with the library is in golden_test.cpp.
#include "engine/tokenizer/pretokenizer.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "engine/tokenizer/golden_check.hpp"

namespace deepwell::engine {
namespace {

using testing::word_lengths;

std::vector<std::string> words(std::string_view pre, std::string_view text) {
  std::vector<std::string> words;
  for (const std::int32_t n_bytes : word_lengths(*find_pretokenizer(pre), text)) {
    words.emplace_back(text.substr(0, static_cast<std::size_t>(n_bytes)));
    text.remove_prefix(static_cast<std::size_t>(n_bytes));
  }
  return words;
}

using Words = std::vector<std::string>;

TEST(PreTokenizer, HasADistinctNameInEveryEntry) {
  std::set<std::string_view> names;
  for (const PreTokenizer& entry : pretokenizers()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_EQ(find_pretokenizer(entry.name), &entry);
  }
  EXPECT_EQ(find_pretokenizer("no-such"), nullptr);
  EXPECT_EQ(find_pretokenizer(""), nullptr);
}

TEST(PreTokenizer, CutsNumbersAsEachModelWasTrained) {
  EXPECT_EQ(words("qwen2", "in 2024"), (Words{"in", " ", "2", "0", "2", "4"}));
  EXPECT_EQ(words("llama-bpe", "in 12345"), (Words{"in", " ", "123", "45"}));
  EXPECT_EQ(words("smollm", "in  20"), (Words{"in", "  ", "2", "0"}));
  EXPECT_EQ(words("gpt-2", "in  2024"), (Words{"in", " ", " 2024"}));
}

TEST(PreTokenizer, LeavesTheLastSpaceToTheNextWord) {
  EXPECT_EQ(words("qwen2", "a   b"), (Words{"a", "  ", " b"}));
  EXPECT_EQ(words("qwen2", "a   "), (Words{"a", "   "}));
  EXPECT_EQ(words("qwen2", "a \n \n  b"), (Words{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(words("gpt-2", "a \n \n  b"), (Words{"a", " \n \n ", " b"}));
  EXPECT_EQ(words("qwen2", "a\tb"), (Words{"a", "\tb"}));
  EXPECT_EQ(words("gpt-2", "a\tb"), (Words{"a", "\t", "b"}));
}

TEST(PreTokenizer, SplitsEnglishEndings) {
  EXPECT_EQ(words("qwen2", "I'LL we'Re 'sx"), (Words{"I", "'LL", " we", "'Re", " '", "sx"}));
  EXPECT_EQ(words("gpt-2", "I'LL we're"), (Words{"I", "'", "LL", " we", "'re"}));
  EXPECT_EQ(words("qwen2", "it'\u017Fx"), (Words{"it", "'\u017F", "x"}));  // folds to s
  EXPECT_EQ(words("smollm", "it'\u017Fx"), (Words{"it", "'", "\u017Fx"}));
}

TEST(PreTokenizer, KeepsLineBreaksWithThePunctuationBeforeThem) {
  EXPECT_EQ(words("qwen2", "x;\r\n\r\ny"), (Words{"x", ";\r\n\r\n", "y"}));
  EXPECT_EQ(words("smollm", "x;\r\n\r\ny"), (Words{"x", ";", "\r\n\r", "\n", "y"}));
}

TEST(PreTokenizer, TakesEachStrayByteAsACharacterOfNoClass) {
  std::vector<Char> chars;
  split_chars(
      "\xE4\xBD\xA0\xE4\xBD"
      "a\xFF",
      chars);
  ASSERT_EQ(chars.size(), 5U);
  EXPECT_EQ(chars[0].code_point, U'你');
  for (const std::size_t stray : {1U, 2U, 4U}) {
    EXPECT_EQ(chars[stray].n_bytes, 1);
    EXPECT_EQ(chars[stray].classes, kOther);
  }
  EXPECT_EQ(chars[3].code_point, U'a');
}

// Every entry must cut anything, and lose nothing.
TEST(PreTokenizerContract, CoversRandomTextExactly) {
  std::mt19937 random(7);
  constexpr std::string_view kPieces[] = {"a",
                                          "S",
                                          "'",
                                          "1",
                                          " ",
                                          "\n",
                                          "\r",
                                          "\t",
                                          "!",
                                          "字",
                                          "\u0301",
                                          "\xFF",
                                          "\u00A0",
                                          "Ⅷ",
                                          "\xE4",
                                          "😀",
                                          "ll",
                                          "\u017F",
                                          std::string_view("\0", 1)};
  for (const PreTokenizer& entry : pretokenizers()) {
    for (int round = 0; round < 3000; ++round) {
      std::string text;
      const auto n_pieces = random() % 14;
      for (unsigned i = 0; i < n_pieces; ++i) text += kPieces[random() % std::size(kPieces)];
      std::size_t n_bytes = 0;
      for (const std::int32_t len : word_lengths(entry, text)) {
        ASSERT_GT(len, 0) << entry.name;
        n_bytes += static_cast<std::size_t>(len);
      }
      ASSERT_EQ(n_bytes, text.size()) << entry.name;
    }
  }
}

TEST(CharClass, KnowsTheEdgesOfUnicode) {
  EXPECT_EQ(char_classes(U'a'), kLetter);
  EXPECT_EQ(char_classes(U'\n'), kSpace | kNewline);
  EXPECT_EQ(char_classes(U'\u0085'), kSpace);
  EXPECT_EQ(char_classes(U'\u001C'),
            kOther);  // str.isspace() of Python says otherwise, White_Space not
  EXPECT_EQ(char_classes(U'\u200B'), kOther);  // zero-width space is a format character
  EXPECT_EQ(char_classes(U'\u3000'), kSpace);
  EXPECT_EQ(char_classes(U'\u0301'), kMark);
  EXPECT_EQ(char_classes(U'½'), kNumber);
  EXPECT_EQ(char_classes(U'Ⅷ'), kNumber);
  EXPECT_EQ(char_classes(U'，'), kPunctuation);
  EXPECT_EQ(char_classes(U'$'), kSymbol);
  EXPECT_EQ(char_classes(U'\U00020000'), kLetter);
  EXPECT_EQ(char_classes(U'\U000323AF'), kLetter);  // the last CJK ideograph of extension H
  EXPECT_EQ(char_classes(U'\U000323B0'), kOther);
  EXPECT_EQ(char_classes(0xD800), kOther);
  EXPECT_EQ(char_classes(0x10FFFF), kOther);
  EXPECT_EQ(char_classes(0x110000), kOther);
  EXPECT_EQ(char_classes(0xFFFFFFFF), kOther);
}

}  // namespace
}  // namespace deepwell::engine
