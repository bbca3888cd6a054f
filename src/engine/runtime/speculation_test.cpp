// When guesses pay, and how much may be lost by trying.
#include "engine/runtime/speculation.hpp"

#include <gtest/gtest.h>

namespace deepwell::engine {
namespace {

constexpr GuessPrices kCheap{.token_s = 0.1, .row_s = 0.005, .round_s = 0.01};

TEST(Speculation, KnowsTheSpeedOfSureGuesses) {
  // Five tokens in the time of one step, four rows and four rounds.
  EXPECT_NEAR(5.0 * 0.1 / (0.1 + 4 * 0.015), speedup(kCheap, 1.0, 4), 1e-12);
  EXPECT_NEAR(1.0 * 0.1 / (0.1 + 4 * 0.015), speedup(kCheap, 0.0, 4), 1e-12);
  EXPECT_NEAR(1.0, speedup(kCheap, 0.7, 0), 1e-12);
}

TEST(Speculation, GuessesFurtherTheSurerItIs) {
  EXPECT_EQ(8U, best_guesses(kCheap, 1.0, 8));
  EXPECT_EQ(0U, best_guesses(kCheap, 0.05, 8));
  std::uint32_t last = 0;
  for (double rate = 0.0; rate <= 1.0; rate += 0.05) {
    const std::uint32_t n = best_guesses(kCheap, rate, 8);
    EXPECT_GE(n, last) << rate;
    last = n;
  }
}

TEST(Speculation, GuessesNothingWithADraftThatIsAsSlowAsTheModel) {
  EXPECT_EQ(0U, best_guesses({.token_s = 0.1, .row_s = 0.01, .round_s = 0.1}, 1.0, 8));
}

TEST(Speculation, GuessesNothingWhereRowsCostAsMuchAsTokens) {
  EXPECT_EQ(0U, best_guesses({.token_s = 0.1, .row_s = 0.1, .round_s = 0.01}, 0.9, 8));
}

TEST(Speculation, TriesADraftWhoseTimesItDoesNotKnowYet) {
  EXPECT_GT(best_guesses({.token_s = 0.1, .row_s = 0.005}, GuessRecord::kHope, 3), 0U);
}

TEST(GuessRecord, CountsTheFirstWrongGuessAndNoneBehindIt) {
  GuessRecord record(0.5), other(0.5);
  record.note(8, 0);
  other.note(1, 0);
  EXPECT_EQ(record.rate(), other.rate());
  EXPECT_LT(record.rate(), 0.5);
  GuessRecord right(0.5);
  right.note(4, 4);
  EXPECT_GT(right.rate(), 0.6);
  right.note(0, 0);
  EXPECT_GT(right.rate(), 0.6);
}

TEST(GuessRecord, NearsTheShareThatIsRight) {
  GuessRecord record(GuessRecord::kHope);
  double sum = 0.0;
  for (int i = 0; i < 3000; ++i) {
    record.note(1, i % 4 == 0 ? 0 : 1);
    sum += record.rate();
  }
  EXPECT_NEAR(0.75, sum / 3000, 0.02);
}

TEST(GuessRecord, HopesAgainAfterManySkippedSteps) {
  GuessRecord record(GuessRecord::kHope);
  for (int i = 0; i < 50; ++i) record.note(4, 0);
  EXPECT_EQ(0U, best_guesses(kCheap, record.rate(), 8));
  int n_skipped = 0;
  for (; best_guesses(kCheap, record.rate(), 8) == 0; ++n_skipped) record.note_skipped();
  EXPECT_GT(n_skipped, 5);
  EXPECT_LT(n_skipped, 200);
}

TEST(SpeculationAccount, LosesASmallShareOfTheTimeToGuessesThatNeverPay) {
  SpeculationAccount account;
  double total_s = 0.0, lost_s = 0.0;
  while (total_s < 100.0) {
    double step_s = 0.02;
    if (account.can_spend(0.0)) {
      account.spend(0.015);
      lost_s += 0.015;
      step_s += 0.015;
    }
    account.note_step(step_s);
    total_s += step_s;
  }
  EXPECT_GT(lost_s, 0.0);
  EXPECT_LT(lost_s, SpeculationAccount::kFirstCredit_s + 0.02 * total_s);
}

TEST(SpeculationAccount, NeverHindersGuessesThatPay) {
  SpeculationAccount account;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(account.can_spend(0.0)) << i;
    account.spend(0.015);
    account.earn(0.02);
    account.note_step(0.035);
  }
  EXPECT_LE(account.credit_s(), SpeculationAccount::kMostCredit_s);
}

}  // namespace
}  // namespace deepwell::engine
