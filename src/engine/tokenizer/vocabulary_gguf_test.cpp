// Reading a vocabulary from a model file, and refusing what is wrong in it.
#include "engine/tokenizer/vocabulary_gguf.hpp"

#include <gtest/gtest.h>

#include "engine/gguf/gguf_writer.hpp"
#include "engine/tokenizer/test_vocabulary.hpp"

namespace deepwell::engine {
namespace {

std::vector<std::string> to_strings(const StringList& list) {
  std::vector<std::string> strings;
  for (const std::string_view string : list) strings.emplace_back(string);
  return strings;
}

GgufWriter writer_of(const Vocabulary& vocabulary) {
  GgufWriter writer;
  writer.add_string("tokenizer.ggml.model", vocabulary.model);
  writer.add_string("tokenizer.ggml.pre", vocabulary.pre);
  writer.add_strings("tokenizer.ggml.tokens", to_strings(vocabulary.tokens));
  std::vector<std::int32_t> kinds;
  for (const TokenKind kind : vocabulary.kinds) kinds.push_back(static_cast<std::int32_t>(kind));
  writer.add_int32s("tokenizer.ggml.token_type", kinds);
  writer.add_strings("tokenizer.ggml.merges", to_strings(vocabulary.merges));
  return writer;
}

Result<Vocabulary> read_back(const GgufWriter& writer) {
  const auto bytes = writer.bytes();
  auto file = GgufFile::parse(bytes);
  if (!file) return std::move(file).error();
  return read_vocabulary(**file);
}

TEST(ReadVocabulary, ReadsEveryKey) {
  const Vocabulary written = testing::tiny_vocabulary("qwen2");
  GgufWriter writer = writer_of(written);
  writer.add_uint32("tokenizer.ggml.bos_token_id", 266);
  writer.add_uint32("tokenizer.ggml.eos_token_id", 267);
  writer.add_uint32("tokenizer.ggml.eot_token_id", 268);
  writer.add_uint32("tokenizer.ggml.eom_token_id", 269);
  writer.add_uint32("tokenizer.ggml.padding_token_id", 0);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
  const auto read = read_back(writer);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->model, "gpt2");
  EXPECT_EQ(read->pre, "qwen2");
  EXPECT_EQ(read->tokens, written.tokens);
  EXPECT_EQ(read->kinds, written.kinds);
  EXPECT_EQ(read->merges, written.merges);
  EXPECT_EQ(read->bos, 266);
  EXPECT_EQ(read->eos, 267);
  EXPECT_EQ(read->eot, 268);
  EXPECT_EQ(read->eom, 269);
  EXPECT_EQ(read->pad, 0);
  EXPECT_TRUE(read->add_bos);
  EXPECT_EQ(read->end_ids, std::vector<TokenId>{267});  // <|im_end|>
}

TEST(ReadVocabulary, FillsInWhatAFileMayLeaveOut) {
  const auto read = read_back(writer_of(testing::tiny_vocabulary("qwen2")));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->bos || read->eos || read->eot || read->eom || read->pad);
  EXPECT_FALSE(read->add_bos);
  const auto llama = read_back(writer_of(testing::tiny_vocabulary("llama-bpe")));
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_TRUE(llama->add_bos);
}

TEST(ReadVocabulary, RefusesWrongValues) {
  GgufWriter writer = writer_of(testing::tiny_vocabulary("qwen2"));
  writer.add_uint64("tokenizer.ggml.eos_token_id", std::uint64_t{1} << 31);
  auto read = read_back(writer);
  ASSERT_FALSE(read);
  EXPECT_EQ(
      read.error().message,
      "tokenizer.ggml.eos_token_id = 2147483648 is not a token id; the model file is damaged");

  Vocabulary vocabulary = testing::tiny_vocabulary("qwen2");
  vocabulary.kinds[5] = static_cast<TokenKind>(9);
  read = read_back(writer_of(vocabulary));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message,
            "tokenizer.ggml.token_type[5] = 9 is no token type; expected 1 to 6");

  GgufWriter empty;
  read = read_back(empty);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kNotFound);
}

TEST(FindEndIds, WantsControlTokens) {
  Vocabulary vocabulary;
  testing::add_token(vocabulary, "<|eot_id|>", TokenKind::kControl);
  testing::add_token(vocabulary, "<|im_end|>", TokenKind::kNormal);
  testing::add_token(vocabulary, "<｜end▁of▁sentence｜>", TokenKind::kControl);
  testing::add_token(vocabulary, "<|im_start|>", TokenKind::kControl);
  EXPECT_EQ(find_end_ids(vocabulary), (std::vector<TokenId>{0, 2}));
}

}  // namespace
}  // namespace deepwell::engine
