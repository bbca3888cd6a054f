// What fits, what is kept, and what is refused.
#include "engine/runtime/memory_plan.hpp"

#include <gtest/gtest.h>

#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// A model of 400 MiB whose longest sequence takes 100 MiB in 100 blocks.
MemoryPlan plan_of(std::uint64_t n_available_mib) {
  return {.n_available_bytes = n_available_mib * kMiB,
          .n_weights_bytes = 400 * kMiB,
          .n_kv_block_bytes = kMiB,
          .n_blocks_longest = 100};
}

TEST(MemoryPlan, FitsIfWeightsOneSequenceAndTheWorkDo) {
  EXPECT_TRUE(plan_of(400 + 100 + 80).fits());
  EXPECT_FALSE(plan_of(400 + 100 + 79).fits());
  EXPECT_FALSE(plan_of(500).lacks_memory());
  EXPECT_TRUE(plan_of(499).lacks_memory());
}

TEST(MemoryPlan, LeavesRoomForTheWeights) {
  EXPECT_EQ(100U, plan_of(600).n_blocks(8).value());   // half of 200
  EXPECT_EQ(300U, plan_of(1000).n_blocks(8).value());  // half of 600
  EXPECT_EQ(800U, plan_of(4000).n_blocks(8).value());  // all that is wanted
}

TEST(MemoryPlan, GivesAQuarterToKeysAndValuesWhereWeightsAreStreamed) {
  EXPECT_EQ(130U, plan_of(520).n_blocks(8).value());
  EXPECT_EQ(100U, plan_of(300).n_blocks(8).value());  // one sequence always
}

TEST(MemoryPlan, RefusesAContextThatLeavesNoRoomToWork) {
  EXPECT_EQ(100U, plan_of(180).n_blocks(1).value());
  const auto refused = plan_of(179).n_blocks(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(Code::kResourceExhausted, refused.error().code);
  EXPECT_NE(std::string::npos, refused.error().message.find("--ctx-size of at most 1584"))
      << refused.error().message;
}

TEST(MemoryPlan, KeepsNothingOfTheWeightsWhereOthersNeedItAll) {
  const MemoryPlan plan = plan_of(300);
  EXPECT_EQ(0U, plan.budget_bytes(10 * kMiB, 256));
  EXPECT_EQ((200 - 24 - 16) * kMiB, plan.budget_bytes(200 * kMiB, 256));  // 256 rows: 16 blocks
}

TEST(MemoryPlan, CountsATableReadByRowsOnlyWhereItIsTied) {
  for (const TinyGolden& golden : read_tiny_goldens()) {
    LoadedModel model = load_or_die({.path = golden.path(), .n_threads = 1});
    const auto packed = static_cast<double>(model.device->weight_bytes());
    const auto estimate = static_cast<double>(estimate_weight_bytes(*model.model->file));
    EXPECT_GT(estimate, 0.9 * packed) << golden.name;
    EXPECT_LT(estimate, 1.25 * packed) << golden.name;  // vectors weigh much in tiny models
  }
}

}  // namespace
}  // namespace deepwell::engine
