// Who is slow, who is only busy, and who is well again.
#include "cluster/front/token_pace.hpp"

#include <gtest/gtest.h>

namespace deepwell::cluster {
namespace {

struct Pool {
  explicit Pool(std::size_t n) : paces(n) {}
  /// One look at everybody: `n_decoding` generations whose last tokens are `ages_ms[i]` old.
  void look(const std::vector<double>& ages_ms, std::size_t n_decoding = 4) {
    std::vector<TokenPace*> all;
    for (std::size_t i = 0; i < paces.size(); ++i) {
      std::vector<double> ages(ages_ms[i] < 0 ? 0 : n_decoding, ages_ms[i]);
      note_ages(paces[i], ages);
      all.push_back(&paces[i]);
    }
    judge_paces(all);
  }
  std::string slow() const {
    std::string names;
    for (std::size_t i = 0; i < paces.size(); ++i) {
      if (paces[i].is_slow) names += static_cast<char>('0' + i);
    }
    return names;
  }
  std::vector<TokenPace> paces;
};

TEST(TokenPace, FindsTheWorkerWhoseTokensAreFourTimesAsOld) {
  Pool pool(4);
  for (int i = 0; i < 20; ++i) pool.look({60, 50, 500, 70});
  EXPECT_EQ(pool.slow(), "2");
}

TEST(TokenPace, AccusesNobodyInAHurry) {
  Pool pool(3);
  for (std::uint32_t i = 0; i + 1 < kMinLooks; ++i) pool.look({50, 50, 900});
  EXPECT_EQ(pool.slow(), "") << "too few looks";
  Pool newcomer(3);
  for (int i = 0; i < 20; ++i) newcomer.look({50, 50, -1});
  for (std::uint32_t i = 0; i + 1 < kMinLooks; ++i) newcomer.look({50, 50, 900});
  EXPECT_EQ(newcomer.slow(), "") << "too few looks at it";
  Pool steady(3);
  for (int i = 0; i < 20; ++i) steady.look({50, 50, 60});
  steady.look({50, 50, 900});
  EXPECT_EQ(steady.slow(), "") << "one hiccup";
}

TEST(TokenPace, AccusesNobodyWhoIsFastEnough) {
  Pool pool(3);
  for (int i = 0; i < 20; ++i) pool.look({5, 5, 90});
  EXPECT_EQ(pool.slow(), "");
  Pool all_slow(3);
  for (int i = 0; i < 20; ++i) all_slow.look({900, 1100, 1000});
  EXPECT_EQ(all_slow.slow(), "") << "none is slower than its peers";
}

TEST(TokenPace, ComparesOnlyWithPeersThatHaveAsMuchToDo) {
  TokenPace busy;
  TokenPace calm;
  for (int i = 0; i < 20; ++i) {
    std::vector<double> many(16, 500.0);
    std::vector<double> one(1, 50.0);
    note_ages(busy, many);
    note_ages(calm, one);
    TokenPace* all[] = {&busy, &calm};
    judge_paces(all);
  }
  EXPECT_FALSE(busy.is_slow) << "a step over 16 sequences takes longer than one over one";
  TokenPace* alone[] = {&busy};
  judge_paces(alone);
  EXPECT_FALSE(busy.is_slow);
}

TEST(TokenPace, IsWellAgainBelowTwiceItsPeers) {
  Pool pool(3);
  for (int i = 0; i < 20; ++i) pool.look({100, 100, 900});
  ASSERT_EQ(pool.slow(), "2");
  for (int i = 0; i < 40; ++i) pool.look({100, 100, 300});
  EXPECT_EQ(pool.slow(), "2") << "better, but not well";
  for (int i = 0; i < 40; ++i) pool.look({100, 100, 150});
  EXPECT_EQ(pool.slow(), "");
}

TEST(TokenPace, ForgetsWhoGetsNothingToShow) {
  Pool pool(3);
  for (int i = 0; i < 20; ++i) pool.look({50, 50, 900});
  ASSERT_EQ(pool.slow(), "2");
  for (std::uint32_t i = 0; i + 1 < kForgetLooks; ++i) pool.look({50, 50, -1});
  EXPECT_EQ(pool.slow(), "2");
  pool.look({50, 50, -1});
  EXPECT_EQ(pool.slow(), "");
}

}  // namespace
}  // namespace deepwell::cluster
