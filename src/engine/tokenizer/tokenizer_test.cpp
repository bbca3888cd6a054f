// What Tokenizer promises, on a vocabulary small enough to reason about.
#include "engine/tokenizer/tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "engine/tokenizer/pretokenizer.hpp"
#include "engine/tokenizer/test_vocabulary.hpp"

namespace deepwell::engine {
namespace {

using testing::add_merge;
using testing::add_token;
using testing::byte_vocabulary;
using testing::tiny_vocabulary;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> make(Vocabulary vocabulary) {
  auto tokenizer = Tokenizer::create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

std::unique_ptr<Tokenizer> tiny(std::string_view pre = "qwen2") {
  return make(tiny_vocabulary(pre));
}

Ids operator+(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Tokenizer, MergesWithinWordsOnly) {
  const auto tokenizer = tiny();
  EXPECT_EQ(tokenizer->encode("hello"), (Ids{260}));
  EXPECT_EQ(tokenizer->encode("hello world"), (Ids{260, 259, 'o', 'r', 'l', 'd'}));
  EXPECT_EQ(tokenizer->encode("he1llo"), (Ids{256, '1', 257, 'o'}));
  EXPECT_EQ(tokenizer->encode(""), Ids());
}

TEST(Tokenizer, NeverLetsPlainTextBecomeASpecialToken) {
  for (const PreTokenizer& entry : pretokenizers()) {
    const auto tokenizer = tiny(entry.name);
    const std::string text = "<|im_start|>user\n<think><|im_end|><|a|>b</think>";
    for (const TokenId id : tokenizer->encode(text))
      EXPECT_FALSE(tokenizer->special_id(tokenizer->token_bytes(id, true)));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(Tokenizer, DoesNotFollowMergesIntoSpecialTokens) {
  Vocabulary vocabulary = byte_vocabulary("llama-bpe");
  add_token(vocabulary, "<s", TokenKind::kControl);
  add_token(vocabulary, "abc", TokenKind::kUserDefined);
  add_merge(vocabulary, "<", "s");
  add_merge(vocabulary, "a", "b");
  add_merge(vocabulary, "ab", "c");
  const auto tokenizer = make(std::move(vocabulary));
  EXPECT_EQ(tokenizer->encode("<s"), (Ids{'<', 's'}));
  EXPECT_EQ(tokenizer->encode("abc"), (Ids{258, 'c'}));  // nor takes it as a whole word
  EXPECT_EQ(tokenizer->encode_with_specials("abc<s"), (Ids{257, 256}));
}

TEST(Tokenizer, MatchesTheLongestSpecialTokenAtEachPlace) {
  const auto tokenizer = tiny();
  const TokenId a = *tokenizer->special_id("<|a|>");
  const TokenId ab = *tokenizer->special_id("<|a|>b");
  const TokenId think = *tokenizer->special_id("<think>");
  EXPECT_EQ(tokenizer->encode_with_specials("<|a|>b<|a|>c<think>"), (Ids{ab, a, 'c', think}));
  EXPECT_EQ(tokenizer->encode_with_specials("<|a<|a|>"), tokenizer->encode("<|a") + Ids{a});
  EXPECT_EQ(tokenizer->encode_with_specials("<|a|"), tokenizer->encode("<|a|"));
}

TEST(Tokenizer, EncodesSpansAsOneTextWithoutTrustingUsers) {
  const auto tokenizer = tiny();
  const TokenId start = *tokenizer->special_id("<|im_start|>");
  const TokenId end = *tokenizer->special_id("<|im_end|>");
  const TextSpan spans[] = {{"<|im_", true},      {"start|>us", true}, {"er <|im_end|> hel", false},
                            {"lo<|im_end", true}, {"|>", true},        {"\n", true}};
  EXPECT_EQ(
      tokenizer->encode_spans(spans),
      Ids{start} + tokenizer->encode("user <|im_end|> hello") + Ids{end} + tokenizer->encode("\n"));
  // A spelling that needs a user's help is none.
  const TextSpan helped[] = {{"<|im_", true}, {"end|>", false}, {"<|a|>", true}, {"b", false}};
  EXPECT_EQ(tokenizer->encode_spans(helped),
            tokenizer->encode("<|im_end|>") + Ids{*tokenizer->special_id("<|a|>")} + Ids{'b'});
  EXPECT_EQ(tokenizer->encode_spans({}), Ids());
  const TextSpan empty[] = {{"<|a", true}, {"", false}, {"|>", true}};
  EXPECT_EQ(tokenizer->encode_spans(empty), Ids{*tokenizer->special_id("<|a|>")});
}

TEST(Tokenizer, GivesTheSameIdsHoweverSpansAreCut) {
  std::mt19937 random(3);
  const std::string text = "hello  world's 12345 \n\n  he said: \"你好!\" <|im x\r\n";
  for (const PreTokenizer& entry : pretokenizers()) {
    const auto tokenizer = tiny(entry.name);
    for (int round = 0; round < 200; ++round) {
      std::vector<TextSpan> spans;
      for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t n_bytes = std::min<std::size_t>(1 + random() % 9, text.size() - begin);
        spans.push_back({std::string_view(text).substr(begin, n_bytes), random() % 2 == 0});
        begin += n_bytes;
      }
      ASSERT_EQ(tokenizer->encode_spans(spans), tokenizer->encode_with_specials(text))
          << entry.name;
    }
  }
}

TEST(Tokenizer, ReturnsEveryByteStringUnchanged) {
  std::mt19937 random(5);
  for (const PreTokenizer& entry : pretokenizers()) {
    const auto tokenizer = tiny(entry.name);
    for (int round = 0; round < 2000; ++round) {
      std::string text(random() % 30, '\0');
      for (char& c : text) c = static_cast<char>(random() % (round % 2 == 0 ? 256 : 128));
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << entry.name;
      ASSERT_EQ(tokenizer->decode(tokenizer->encode_with_specials(text), true), text) << entry.name;
    }
  }
}

TEST(Tokenizer, TakesAWholeWordBeforeMergingWhereTheModelDoes) {
  for (const bool takes_whole_words : {true, false}) {
    Vocabulary vocabulary = byte_vocabulary(takes_whole_words ? "llama-bpe" : "qwen2");
    add_token(vocabulary, "xyz", TokenKind::kNormal);  // no merge leads there
    EXPECT_EQ(make(std::move(vocabulary))->encode("xyz"),
              takes_whole_words ? Ids{256} : (Ids{'x', 'y', 'z'}));
  }
}

TEST(Tokenizer, ReplacesAByteWithoutATokenByTheReplacementCharacter) {
  Vocabulary vocabulary = byte_vocabulary("smollm");
  vocabulary.kinds[0xF1] = TokenKind::kUnused;
  const auto tokenizer = make(std::move(vocabulary));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xF1z")), "a\uFFFDz");
}

TEST(Tokenizer, HidesControlTokensUnlessAsked) {
  const auto tokenizer = tiny();
  const Ids ids = tokenizer->encode_with_specials("<|im_start|>hello<think>");
  EXPECT_EQ(tokenizer->decode(ids), "hello<think>");
  EXPECT_EQ(tokenizer->decode(ids, true), "<|im_start|>hello<think>");
  EXPECT_EQ(tokenizer->token_bytes(-1, true), "");
  EXPECT_EQ(tokenizer->token_bytes(static_cast<TokenId>(tokenizer->n_vocab()), true), "");
}

TEST(Tokenizer, KnowsControlAndEndTokens) {
  Vocabulary vocabulary = tiny_vocabulary("qwen2");
  const auto id_of = [&](std::string_view spelling) {
    TokenId id = 0;
    for (const std::string_view token : vocabulary.tokens) {
      if (token == spelling) return id;
      ++id;
    }
    return TokenId{-1};
  };
  const TokenId end = id_of("<|im_end|>");
  const TokenId a = id_of("<|a|>");
  vocabulary.eos = end;
  vocabulary.end_ids = {a};
  const auto tokenizer = make(std::move(vocabulary));
  EXPECT_TRUE(tokenizer->is_end(end));
  EXPECT_TRUE(tokenizer->is_end(a));
  EXPECT_FALSE(tokenizer->is_end('a'));
  EXPECT_FALSE(tokenizer->is_end(-1));
  EXPECT_TRUE(tokenizer->is_control(end));
  EXPECT_FALSE(tokenizer->is_control(*tokenizer->special_id("<think>")));
  EXPECT_FALSE(tokenizer->is_control(1 << 30));
  EXPECT_FALSE(tokenizer->special_id("hello"));
  EXPECT_FALSE(tokenizer->special_id(""));
  EXPECT_FALSE(tokenizer->special_id("x<|a|>"));
  EXPECT_FALSE(tokenizer->special_id("<|a|>x"));
}

TEST(Tokenizer, MergesAWordOfAMegabyteQuickly) {
  const auto tokenizer = tiny();
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string_view piece : {"hello", "a", "l", "你", "=", "\n", " "}) {
    std::string text;
    while (text.size() < 1 << 20) text += piece;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  // Quadratic time would be hours; the bound only tells the two apart on a slow machine with
  // sanitizers.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

std::string error_of(Vocabulary vocabulary) {
  const auto tokenizer = Tokenizer::create(std::move(vocabulary));
  EXPECT_FALSE(tokenizer);
  return tokenizer ? "" : tokenizer.error().message;
}

TEST(TokenizerCreate, NamesWhatIsSupported) {
  Vocabulary vocabulary = tiny_vocabulary("no-such");
  EXPECT_EQ(error_of(vocabulary),
            "the pre-tokenizer 'no-such' (tokenizer.ggml.pre) is not supported; supported: smollm, "
            "qwen2, "
            "deepseek-r1-qwen, llama-bpe, gpt-2");
  vocabulary.model = "bert";
  EXPECT_EQ(error_of(vocabulary),
            "the tokenizer model 'bert' (tokenizer.ggml.model) is not supported; supported: gpt2");
}

TEST(TokenizerCreate, RefusesVocabulariesThatContradictThemselves) {
  Vocabulary vocabulary = tiny_vocabulary("qwen2");
  vocabulary.eos = static_cast<TokenId>(vocabulary.tokens.size());
  EXPECT_NE(error_of(vocabulary).find("eos token id 272 is outside"), std::string::npos);
  vocabulary = tiny_vocabulary("qwen2");
  vocabulary.kinds.pop_back();
  EXPECT_NE(error_of(vocabulary).find("272 tokens but 271 token types"), std::string::npos);
  vocabulary = tiny_vocabulary("qwen2");
  for (const char* merge : {"abc", "a b c", "", " "}) {
    vocabulary.merges.push_back(merge);
    EXPECT_NE(error_of(vocabulary).find("merge 10 '"), std::string::npos) << merge;
    vocabulary.merges.pop_back();
  }
  vocabulary.merges.push_back("q q");
  EXPECT_NE(error_of(vocabulary).find("needs the token 'qq'"), std::string::npos);
  vocabulary = {};
  vocabulary.model = "gpt2";
  EXPECT_NE(error_of(vocabulary).find("a vocabulary of 0 tokens"), std::string::npos);
  vocabulary.pre = "qwen2";
  add_token(vocabulary, "a", TokenKind::kNormal);
  EXPECT_NE(error_of(vocabulary).find("no token for the byte 0"), std::string::npos);
}

}  // namespace
}  // namespace deepwell::engine
