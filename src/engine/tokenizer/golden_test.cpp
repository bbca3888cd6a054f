// The same ids as the `tokenizers` library, for every pre-tokenizer, on a small trained vocabulary.
#include <gtest/gtest.h>

#include "engine/tokenizer/golden_check.hpp"
#include "engine/tokenizer/pretokenizer.hpp"
#include "engine/tokenizer/test_vocabulary.hpp"

namespace deepwell::engine {
namespace {

class TokenizerGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(TokenizerGolden, GivesTheIdsOfTheLibrary) {
  auto vocabulary = testing::small_vocabulary(testing::golden_path("small.vocab"), GetParam());
  auto tokenizer = Tokenizer::create(std::move(vocabulary));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  testing::check_golden(**tokenizer, "small-" + GetParam());
}

TEST_P(TokenizerGolden, CutsTheWordsOfTheLibrary) {
  const PreTokenizer* pretokenizer = find_pretokenizer(GetParam());
  ASSERT_NE(pretokenizer, nullptr);
  testing::check_golden_words(*pretokenizer);
}

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const PreTokenizer& entry : pretokenizers()) names.emplace_back(entry.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(EveryPreTokenizer, TokenizerGolden, ::testing::ValuesIn(names()));

}  // namespace
}  // namespace deepwell::engine
