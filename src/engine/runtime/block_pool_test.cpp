// The block pool's books.
#include "engine/runtime/block_pool.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace deepwell::engine {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnce) {
  BlockPool pool(5);
  std::vector<std::uint32_t> blocks;
  pool.take(5, blocks);
  EXPECT_EQ((std::set<std::uint32_t>{0, 1, 2, 3, 4}),
            std::set<std::uint32_t>(blocks.begin(), blocks.end()));
  EXPECT_FALSE(pool.can_take(1));
  pool.release(blocks);
  EXPECT_TRUE(blocks.empty());
  EXPECT_EQ(5U, pool.n_free());
}

TEST(BlockPool, FreesASharedBlockWhenAllGaveItBack) {
  BlockPool pool(3);
  std::vector<std::uint32_t> first, second;
  pool.take(1, first);
  pool.take_block(first[0]);
  second = first;
  EXPECT_TRUE(pool.is_shared(first[0]));
  pool.release(first);
  EXPECT_EQ(2U, pool.n_free());
  EXPECT_FALSE(pool.is_shared(second[0]));
  EXPECT_TRUE(pool.check_integrity());
  pool.release_block(second[0]);
  EXPECT_EQ(3U, pool.n_free());
  EXPECT_TRUE(pool.check_integrity());
}

TEST(BlockPool, KeepsItsBooksOverRandomUse) {
  BlockPool pool(100);
  std::mt19937 random(1);
  std::vector<std::vector<std::uint32_t>> holders(20);
  for (int i = 0; i < 5000; ++i) {
    auto& holder = holders[random() % holders.size()];
    const auto n = static_cast<std::uint32_t>(random() % 12);
    if (random() % 2 == 0 && pool.can_take(n)) {
      pool.take(n, holder);
    } else {
      pool.release(holder);
    }
    std::size_t n_held = 0;
    for (const auto& blocks : holders) n_held += blocks.size();
    ASSERT_EQ(100U, pool.n_free() + n_held);
    ASSERT_TRUE(pool.check_integrity());
  }
}

TEST(BlockPoolDeathTest, RefusesABlockGivenBackTwice) {
  BlockPool pool(2);
  std::vector<std::uint32_t> blocks;
  pool.take(1, blocks);
  std::vector<std::uint32_t> again = blocks;
  pool.release(blocks);
  EXPECT_DEATH(pool.release(again), "as often as it was taken");
}

}  // namespace
}  // namespace deepwell::engine
