// Tests of the token log.
#include "service/dialogue/token_log.hpp"

#include <gtest/gtest.h>

#include "base/thread_pool.hpp"

namespace deepwell::service {
namespace {

using engine::FinishReason;
using engine::GenerationEvent;
using Ids = std::vector<engine::TokenId>;

class TokenLogTest : public ::testing::Test {
 protected:
  void put(std::uint32_t position, Ids ids, FinishReason finish = FinishReason::kNone) {
    log_.on_event({.position = position, .ids = std::move(ids), .finish = finish, .error = {}});
  }

  ThreadPool pool_{1};
  TokenLog log_{std::make_shared<Signal>(pool_)};
};

TEST_F(TokenLogTest, GivesEachCursorWhatItHasNotSeen) {
  put(0, {1, 2});
  put(2, {3});
  EXPECT_EQ(log_.read(0).ids, (Ids{1, 2, 3}));
  EXPECT_EQ(log_.read(2).ids, (Ids{3}));
  EXPECT_EQ(log_.read(3).ids, Ids{});
  EXPECT_FALSE(log_.read(3).is_last());
}

TEST_F(TokenLogTest, TakesRepeatedTokensOnce) {
  put(0, {1, 2, 3});
  put(1, {2, 3, 4});
  EXPECT_EQ(log_.read(0).ids, (Ids{1, 2, 3, 4}));
}

TEST_F(TokenLogTest, TurnsAGapIntoAnError) {
  put(0, {1});
  put(2, {3}, FinishReason::kStop);
  const TokenLog::Tail tail = log_.read(0);
  EXPECT_EQ(tail.ids, (Ids{1}));
  ASSERT_TRUE(tail.error);
  EXPECT_EQ(tail.error->code, Code::kDataLoss);
  EXPECT_EQ(tail.finish, FinishReason::kNone);
}

TEST_F(TokenLogTest, EndsOnce) {
  put(0, {1});
  put(0, {}, FinishReason::kLength);  // an event without tokens has no position
  EXPECT_EQ(log_.read(0).ids, (Ids{1}));
  EXPECT_EQ(log_.read(1).finish, FinishReason::kLength);
}

}  // namespace
}  // namespace deepwell::service
