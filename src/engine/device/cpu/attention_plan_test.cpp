// The cutting of a step's attention: everything once, nothing too large for one thread.
#include "engine/device/cpu/attention_plan.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>

#include "engine/device/cpu/kernels.hpp"

namespace deepwell::engine {
namespace {

AttentionPlan plan_of(const std::vector<StepSequence>& sequences, std::uint32_t n_threads,
                      std::size_t n_part_floats = 1 << 24) {
  AttentionPlan plan;
  plan_attention(sequences,
                 {.n_kv_heads = 2,
                  .n_group_heads = 7,
                  .d_head = 64,
                  .n_threads = n_threads,
                  .n_part_floats = n_part_floats},
                 plan);
  return plan;
}

/// (sequence, row, key block) -> how often a chunk has it.
std::map<std::array<std::uint32_t, 3>, int> cover_of(const AttentionPlan& plan) {
  std::map<std::array<std::uint32_t, 3>, int> cover;
  for (const AttentionChunk& chunk : plan.chunks) {
    const AttentionTask& task = plan.tasks[chunk.task];
    for (std::uint32_t r = 0; r < task.n_rows; ++r) {
      for (std::uint32_t kb = chunk.key_block_begin; kb < chunk.key_block_end; ++kb)
        ++cover[{task.sequence, task.first_row + r, kb}];
    }
  }
  return cover;
}

const std::vector<StepSequence> kMixed = {{.row_begin = 0, .n_rows = 1, .pos_begin = 4095},
                                          {.row_begin = 1, .n_rows = 1, .pos_begin = 127},
                                          {.row_begin = 2, .n_rows = 1, .pos_begin = 128},
                                          {.row_begin = 3, .n_rows = 37, .pos_begin = 500},
                                          {.row_begin = 40, .n_rows = 1, .pos_begin = 0}};

TEST(AttentionPlan, HoldsEveryRowAndKeyBlockOnce) {
  for (const std::uint32_t n_threads : {1U, 2U, 3U, 16U}) {
    const AttentionPlan plan = plan_of(kMixed, n_threads);
    const auto cover = cover_of(plan);
    std::size_t n_expected = 0;
    for (std::uint32_t s = 0; s < kMixed.size(); ++s) {
      for (std::uint32_t r = 0; r < kMixed[s].n_rows; ++r) {
        const std::uint32_t n_needed = (kMixed[s].pos_begin + r + 128) / 128;
        for (std::uint32_t kb = 0; kb < n_needed; ++kb)
          EXPECT_EQ(1, cover.at({s, r, kb})) << n_threads << " threads";
        n_expected += n_needed;
      }
    }
    EXPECT_GE(cover.size(), n_expected);  // rows of one task share the last one's blocks
    EXPECT_LT(plan.n_counters, max_attention_counters(n_threads) + 1);
  }
}

TEST(AttentionPlan, SplitsOneLongSequenceOverTheThreads) {
  const std::vector<StepSequence> one = {{.n_rows = 1, .pos_begin = 4095}};
  EXPECT_EQ(1U, plan_of(one, 1).chunks.size());
  const AttentionPlan plan = plan_of(one, 2);
  EXPECT_EQ(4U, plan.chunks.size());  // times two heads: four chunks a thread
  EXPECT_EQ(2U, plan.n_counters);
  for (const AttentionChunk& chunk : plan.chunks)
    EXPECT_EQ(8U, chunk.key_block_end - chunk.key_block_begin);
}

TEST(AttentionPlan, LeavesManyEqualTasksWhole) {
  const std::vector<StepSequence> many(16, {.n_rows = 1, .pos_begin = 4095});
  EXPECT_EQ(16U, plan_of(many, 2).chunks.size());
  EXPECT_EQ(0U, plan_of(many, 2).n_counters);
  const std::vector<StepSequence> prefill = {{.n_rows = 512, .pos_begin = 4096}};
  EXPECT_EQ(32U, plan_of(prefill, 2).chunks.size());  // 16 rows: 7 full tiles of 16 queries
}

TEST(AttentionPlan, SplitsOnlyWhatThePartsHaveRoomFor) {
  const std::vector<StepSequence> one = {{.n_rows = 1, .pos_begin = 4095}};
  const std::size_t n_needed = 2 * 32 * attention_part_floats(7, 64);
  EXPECT_EQ(4U, plan_of(one, 2, n_needed).chunks.size());
  EXPECT_EQ(1U, plan_of(one, 2, n_needed - 1).chunks.size());
}

}  // namespace
}  // namespace deepwell::engine
