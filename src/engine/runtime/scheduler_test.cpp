// The scheduler without a model: who runs, how much, and that nobody is forgotten.
#include "engine/runtime/scheduler.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace deepwell::engine {
namespace {

std::unique_ptr<Sequence> sequence(GenerationId id, std::uint32_t n_prompt,
                                   std::uint32_t max_tokens) {
  auto s = std::make_unique<Sequence>();
  s->id = id;
  s->tokens.assign(n_prompt, 7);
  s->n_prompt = n_prompt;
  s->request.max_tokens = max_tokens;
  return s;
}

/// Does what the engine does with a step's pieces: counts them as computed, appends a token, ends what is complete.
void commit(Scheduler& scheduler, const std::vector<StepPiece>& pieces) {
  for (const StepPiece& piece : pieces) {
    piece.sequence->n_computed += piece.n_tok;
    if (piece.has_output) piece.sequence->tokens.push_back(9);
    const bool is_done = piece.sequence->n_generated() >= piece.sequence->request.max_tokens;
    if (is_done && (piece.has_output || piece.sequence->n_pending() == 0))
      scheduler.remove(piece.sequence->id);
  }
}

struct World {
  BlockPool blocks{64};
  Scheduler scheduler{
      {.n_parallel = 4, .n_max_rows = 64, .n_mixed_budget_tok = 16, .n_ctx_tok = 512}, blocks};
  StepBatch batch;
  std::vector<StepPiece> pieces;
  bool step() {
    if (!scheduler.schedule(batch, pieces)) return false;
    commit(scheduler, pieces);
    return true;
  }
};

TEST(Scheduler, CutsAPromptIntoChunksOfTheBudget) {
  World world;
  world.scheduler.add(sequence(1, 150, 1));
  std::vector<std::uint32_t> chunks;
  while (world.scheduler.schedule(world.batch, world.pieces)) {
    chunks.push_back(world.batch.n_rows());
    EXPECT_EQ(chunks.size() == 3, world.pieces[0].has_output);
    commit(world.scheduler, world.pieces);
  }
  EXPECT_EQ((std::vector<std::uint32_t>{64, 64, 22}), chunks);
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
}

TEST(Scheduler, GivesEveryDecodingSequenceItsTokenBesideAPrefill) {
  World world;
  world.scheduler.add(sequence(1, 3, 100));
  world.scheduler.add(sequence(2, 3, 100));
  ASSERT_TRUE(world.step());
  world.scheduler.add(sequence(3, 200, 100));
  ASSERT_TRUE(world.scheduler.schedule(world.batch, world.pieces));
  ASSERT_EQ(3U, world.pieces.size());
  EXPECT_EQ(1U, world.pieces[0].n_tok);
  EXPECT_EQ(1U, world.pieces[1].n_tok);
  EXPECT_EQ(16U, world.pieces[2].n_tok);  // the mixed budget, beside the decoding rows
}

TEST(Scheduler, NeverPlansMoreRowsThanAStepHolds) {
  BlockPool blocks(64);
  Scheduler scheduler(
      {.n_parallel = 8, .n_max_rows = 5, .n_mixed_budget_tok = 16, .n_ctx_tok = 512}, blocks);
  StepBatch batch;
  std::vector<StepPiece> pieces;
  for (GenerationId id = 1; id <= 8; ++id) scheduler.add(sequence(id, 1, 100));
  scheduler.add(sequence(9, 50, 1));
  ASSERT_TRUE(scheduler.schedule(batch, pieces));
  EXPECT_EQ(5U, batch.n_rows());
}

TEST(Scheduler, AdmitsOnlyWhoCanFinish) {
  World world;                                 // 64 blocks of 16 tokens
  world.scheduler.add(sequence(1, 100, 400));  // 500 tokens: 32 blocks
  world.scheduler.add(sequence(2, 100, 400));
  world.scheduler.add(sequence(3, 1, 1));
  ASSERT_TRUE(world.step());
  EXPECT_EQ(2U, world.scheduler.n_running());
  EXPECT_EQ(1U, world.scheduler.n_waiting());  // no overtaking, and no block left
  EXPECT_FALSE(world.blocks.can_take(1));
  world.scheduler.remove(1);
  ASSERT_TRUE(world.step());
  EXPECT_EQ(0U, world.scheduler.n_waiting());
}

TEST(Scheduler, LimitsReservationsToTheContext) {
  World world;
  world.scheduler.add(sequence(1, 10, 1'000'000));
  ASSERT_TRUE(world.step());
  EXPECT_EQ(512U / 16, world.scheduler.n_blocks_used());
}

TEST(Scheduler, ComputesAPromptWithoutAnswerWhenNoTokensAreAsked) {
  World world;
  world.scheduler.add(sequence(1, 20, 0));
  ASSERT_TRUE(world.scheduler.schedule(world.batch, world.pieces));
  EXPECT_FALSE(world.pieces[0].has_output);
  EXPECT_TRUE(world.batch.step().output_rows.empty());
}

TEST(Scheduler, FinishesEverybodyOverRandomArrivalsAndCancels) {
  World world;
  std::mt19937 random(3);
  std::map<GenerationId, int> open;
  GenerationId last = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (step < 15'000 && random() % 8 == 0) {
      open[++last] = step;
      world.scheduler.add(sequence(last, static_cast<std::uint32_t>(1 + random() % 300),
                                   static_cast<std::uint32_t>(random() % 40)));
    }
    if (random() % 50 == 0 && !open.empty()) {
      auto it = std::next(open.begin(), static_cast<std::ptrdiff_t>(random() % open.size()));
      world.scheduler.remove(it->first);
      open.erase(it);
    }
    world.step();
    for (auto it = open.begin(); it != open.end();) {
      it = world.scheduler.find(it->first) == nullptr ? open.erase(it) : std::next(it);
    }
    ASSERT_LE(world.batch.n_rows(), 64U);
    ASSERT_TRUE(world.blocks.check_integrity());
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
  EXPECT_GT(last, 1000U);
}

}  // namespace
}  // namespace deepwell::engine
