// Guessing from what was said before.
#include "engine/runtime/ngram_drafter.hpp"

#include <gtest/gtest.h>

namespace deepwell::engine {
namespace {

std::vector<TokenId> guess(const std::vector<TokenId>& tokens, std::uint32_t n_max) {
  std::vector<TokenId> out;
  NgramDrafter().guess(tokens, n_max, out);
  return out;
}

TEST(NgramDrafter, GoesOnWhereTheLastTokensStoodBefore) {
  EXPECT_EQ((std::vector<TokenId>{4, 5, 6}), guess({1, 2, 3, 4, 5, 6, 9, 1, 2, 3}, 3));
  EXPECT_EQ((std::vector<TokenId>{4, 5, 6, 9, 1, 2, 3}), guess({1, 2, 3, 4, 5, 6, 9, 1, 2, 3}, 20));
}

TEST(NgramDrafter, GuessesNothingWhereNothingMatches) {
  EXPECT_TRUE(guess({}, 4).empty());
  EXPECT_TRUE(guess({1, 2, 3}, 4).empty());
  EXPECT_TRUE(guess({1, 2, 3, 4, 9, 2, 3}, 4).empty());  // two tokens are not enough
  EXPECT_TRUE(guess({1, 2, 3, 4, 1, 2, 3}, 0).empty());
}

TEST(NgramDrafter, PrefersTheLongestMatchThenTheLatest) {
  EXPECT_EQ((std::vector<TokenId>{7}), guess({5, 1, 2, 3, 7, 1, 2, 3, 8, 5, 1, 2, 3}, 1));
  EXPECT_EQ((std::vector<TokenId>{8}), guess({6, 1, 2, 3, 7, 4, 1, 2, 3, 8, 5, 1, 2, 3}, 1));
}

TEST(NgramDrafter, ContinuesARepeatedToken) {
  EXPECT_EQ((std::vector<TokenId>{1}), guess({1, 1, 1, 1}, 4));
}

TEST(NgramDrafter, LearnsHowOftenItIsRightAndHopesAgain) {
  NgramDrafter drafter;
  for (int i = 0; i < 30; ++i) drafter.note(8, 0);
  EXPECT_LT(drafter.rate(), 0.01);
  for (int i = 0; i < 200; ++i) drafter.note_skipped();
  EXPECT_GT(drafter.rate(), 0.4);
  for (int i = 0; i < 30; ++i) drafter.note(8, 8);
  EXPECT_GT(drafter.rate(), 0.99);
  const double rate = drafter.rate();
  drafter.note(0, 0);
  EXPECT_EQ(rate, drafter.rate());
}

}  // namespace
}  // namespace deepwell::engine
