// Tests of the token log.
#include "service/dialogue/token_log.hpp"

#include <gtest/gtest.h>

namespace deepwell::service {
namespace {

using Ids = std::vector<engine::TokenId>;

Status put(TokenLog& log, std::uint32_t position, Ids ids) {
  return log.append({.position = position, .ids = std::move(ids), .error = {}});
}

TEST(TokenLog, AppendsEventsInOrder) {
  TokenLog log;
  EXPECT_TRUE(put(log, 0, {1, 2}));
  EXPECT_TRUE(put(log, 2, {3}));
  EXPECT_EQ(log.ids, (Ids{1, 2, 3}));
}

TEST(TokenLog, TakesRepeatedTokensOnce) {
  TokenLog log;
  EXPECT_TRUE(put(log, 0, {1, 2, 3}));
  EXPECT_TRUE(put(log, 1, {2, 3, 4}));
  EXPECT_TRUE(put(log, 0, {1}));
  EXPECT_EQ(log.ids, (Ids{1, 2, 3, 4}));
}

TEST(TokenLog, TurnsAGapIntoAnError) {
  TokenLog log;
  EXPECT_TRUE(put(log, 0, {1}));
  const Status gap = put(log, 2, {3});
  ASSERT_FALSE(gap);
  EXPECT_EQ(gap.error().code, Code::kDataLoss);
  EXPECT_EQ(log.ids, (Ids{1}));
}

TEST(TokenLog, TakesEventsWithoutTokensAnywhere) {
  TokenLog log;
  EXPECT_TRUE(put(log, 7, {}));
  EXPECT_EQ(log.ids, Ids{});
}

}  // namespace
}  // namespace deepwell::service
