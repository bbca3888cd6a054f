// Streaming text and the UTF-8 steps under it.
#include <gtest/gtest.h>

#include "base/utf8.hpp"
#include "engine/tokenizer/golden_check.hpp"
#include "engine/tokenizer/test_vocabulary.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {
namespace {

std::unique_ptr<Tokenizer> tiny() {
  return std::move(*Tokenizer::create(testing::tiny_vocabulary("qwen2")));
}

/// The pieces that a stream of these bytes, one token each, gives; the last one is finish()'s.
std::vector<std::string> stream(std::string_view bytes) {
  const auto tokenizer = tiny();
  StreamDecoder decoder(*tokenizer);
  std::vector<std::string> pieces;
  for (const char byte : bytes) pieces.push_back(decoder.push(static_cast<std::uint8_t>(byte)));
  pieces.push_back(decoder.finish());
  return pieces;
}

std::string streamed(std::string_view bytes) {
  std::string text;
  for (const std::string& piece : stream(bytes)) text += piece;
  return text;
}

using Pieces = std::vector<std::string>;

TEST(StreamDecoder, HoldsACharacterBackUntilItIsWhole) {
  EXPECT_EQ(stream("a你😀"), (Pieces{"a", "", "", "你", "", "", "", "😀", ""}));
}

TEST(StreamDecoder, ReplacesWhatCanNeverBecomeACharacterAtOnce) {
  EXPECT_EQ(stream("\xFF"
                   "a"),
            (Pieces{"\uFFFD", "a", ""}));
  EXPECT_EQ(stream("\xE4\xBD"
                   "a"),
            (Pieces{"", "",
                    "\uFFFD"
                    "a",
                    ""}));
  EXPECT_EQ(stream("\xE4\xBD"), (Pieces{"", "", "\uFFFD"}));
  EXPECT_EQ(stream("\xE4\xE4\xBD\xA0"), (Pieces{"", "\uFFFD", "", "你", ""}));
}

// Table 3-8 of the Unicode Standard, and what bytes.decode(errors="replace") of Python gives.
TEST(StreamDecoder, ReplacesMaximalSubparts) {
  EXPECT_EQ(streamed("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                     "A"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
            "A");
  EXPECT_EQ(streamed("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
                     "A"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
            "A");
  EXPECT_EQ(streamed("\xF4\x91\x92\x93\xFF"
                     "A\x80\xBF"
                     "B"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"
            "A\uFFFD\uFFFD"
            "B");
  EXPECT_EQ(streamed("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                     "A"),
            "\uFFFD\uFFFD\uFFFD\uFFFD"
            "A");
}

TEST(StreamDecoder, GivesValidTextUnchangedWhateverTheTokens) {
  const auto tokenizer = tiny();
  const std::string text = "hello 你好 <|im_end|> 👩🏿‍🚀 \u0301e";
  StreamDecoder decoder(*tokenizer);
  std::string result;
  for (const TokenId id : tokenizer->encode(text)) {
    const std::string piece = decoder.push(id);
    for (std::string_view rest = piece; !rest.empty();) {
      const Utf8Step step = utf8_step(rest);
      ASSERT_EQ(step.kind, Utf8Step::Kind::kCharacter);
      rest.remove_prefix(step.n_bytes);
    }
    result += piece;
  }
  EXPECT_EQ(result + decoder.finish(), text);
}

TEST(StreamDecoder, ShowsSpecialTokensOnlyIfAsked) {
  const auto tokenizer = tiny();
  const TokenId end = *tokenizer->special_id("<|im_end|>");
  EXPECT_EQ(StreamDecoder(*tokenizer).push(end), "");
  EXPECT_EQ(StreamDecoder(*tokenizer, true).push(end), "<|im_end|>");
  EXPECT_EQ(StreamDecoder(*tokenizer).push(*tokenizer->special_id("<think>")), "<think>");
}

TEST(StreamDecoder, StartsAfreshAfterFinish) {
  const auto tokenizer = tiny();
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push(0xE4), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(Utf8Step, DecodesEveryCodePointAndNothingElse) {
  std::size_t n_characters = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string bytes;
    testing::append_utf8(c, bytes);
    const Utf8Step step = utf8_step(bytes);
    const bool is_surrogate = c >= 0xD800 && c < 0xE000;
    ASSERT_EQ(step.kind == Utf8Step::Kind::kCharacter, !is_surrogate) << std::uint32_t{c};
    if (is_surrogate) continue;
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.n_bytes, bytes.size());
    ++n_characters;
    for (std::size_t n_bytes = 1; n_bytes < bytes.size(); ++n_bytes) {
      ASSERT_EQ(utf8_step(std::string_view(bytes).substr(0, n_bytes)).kind,
                Utf8Step::Kind::kIncomplete)
          << std::uint32_t{c};
    }
  }
  EXPECT_EQ(n_characters, 0x110000U - 0x800U);
}

}  // namespace
}  // namespace deepwell::engine
