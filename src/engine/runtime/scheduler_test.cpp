// The scheduler without a model: who runs, how much, and that nobody is forgotten.
#include "engine/runtime/scheduler.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>

namespace deepwell::engine {
namespace {

std::unique_ptr<Sequence> sequence(GenerationId id, std::uint32_t n_prompt,
                                   std::uint32_t max_tokens, std::string tenant = "") {
  auto s = std::make_unique<Sequence>();
  s->id = id;
  s->tokens.assign(n_prompt, 7);
  s->n_prompt = s->n_known = s->verify_begin = n_prompt;
  s->request.max_tokens = max_tokens;
  s->request.tenant = std::move(tenant);
  return s;
}

constexpr KvShape kShape{.n_layers = 1, .n_kv_heads = 1, .d_head = 16};

/// 64 blocks of 16 tokens, and what the engine does with a step: counts its tokens as computed, appends one, ends what
/// is complete.
struct World {
  explicit World(PrefixCache* used = nullptr, BlockPool* pool = nullptr)
      : own_blocks(64),
        blocks(pool != nullptr ? *pool : own_blocks),
        cache(used),
        scheduler({.n_parallel = 4, .n_max_rows = 64, .n_ctx_tok = 512, .n_mixed_budget_tok = 16},
                  blocks, used) {}

  void add(std::unique_ptr<Sequence> s) { scheduler.add(std::move(s), now_ms); }
  bool schedule() { return scheduler.schedule(batch, pieces, now_ms++); }
  void commit() {
    scheduler.charge(pieces);
    for (const StepPiece& piece : pieces) {
      Sequence& s = *piece.sequence;
      s.n_computed += piece.n_tok;
      if (cache != nullptr) cache->commit(s);
      if (piece.has_output) s.tokens.push_back(9);
      const bool is_done = s.n_generated() >= s.request.max_tokens;
      if (!is_done || !(piece.has_output || s.n_pending() == 0)) continue;
      ++n_done;
      on_done(s);
      scheduler.remove(s.id);
    }
  }
  bool step() {
    if (!schedule()) return false;
    commit();
    return true;
  }

  BlockPool own_blocks;
  BlockPool& blocks;
  PrefixCache* cache;
  Scheduler scheduler;
  StepBatch batch;
  std::vector<StepPiece> pieces;
  std::int64_t now_ms = 0;
  std::uint64_t n_done = 0;
  std::function<void(const Sequence&)> on_done = [](const Sequence&) {};
};

struct Memory {
  KvArena arena = KvArena::open(-1, {.fingerprint = "f", .shape = kShape}, 64).value();
  BlockPool blocks{64};
  PrefixCache cache{arena, blocks, "f"};
};

struct CachedWorld : Memory, World {
  CachedWorld() : World(&(Memory::cache), &(Memory::blocks)) {}
};

TEST(Scheduler, CutsAPromptIntoChunksOfTheBudget) {
  World world;
  world.add(sequence(1, 150, 1));
  std::vector<std::uint32_t> chunks;
  while (world.schedule()) {
    chunks.push_back(world.batch.n_rows());
    EXPECT_EQ(chunks.size() == 3, world.pieces[0].has_output);
    world.commit();
  }
  EXPECT_EQ((std::vector<std::uint32_t>{64, 64, 22}), chunks);
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
}

TEST(Scheduler, GivesEveryDecodingSequenceItsTokenBesideAPrefill) {
  World world;
  world.add(sequence(1, 3, 100));
  world.add(sequence(2, 3, 100));
  ASSERT_TRUE(world.step());
  world.add(sequence(3, 200, 100));
  ASSERT_TRUE(world.schedule());
  ASSERT_EQ(3U, world.pieces.size());
  EXPECT_EQ(1U, world.pieces[0].n_tok);
  EXPECT_EQ(1U, world.pieces[1].n_tok);
  EXPECT_EQ(16U, world.pieces[2].n_tok);  // the mixed budget, beside the decoding rows
}

TEST(Scheduler, NeverPlansMoreRowsThanAStepHolds) {
  BlockPool blocks(64);
  Scheduler scheduler(
      {.n_parallel = 8, .n_max_rows = 5, .n_ctx_tok = 512, .n_mixed_budget_tok = 16}, blocks);
  StepBatch batch;
  std::vector<StepPiece> pieces;
  for (GenerationId id = 1; id <= 8; ++id) scheduler.add(sequence(id, 1, 100), 0);
  scheduler.add(sequence(9, 50, 1), 0);
  ASSERT_TRUE(scheduler.schedule(batch, pieces, 0));
  EXPECT_EQ(5U, batch.n_rows());
}

TEST(Scheduler, AdmitsWhoeverHasRoomForWhatIsKnown) {
  World world;  // 64 blocks of 16 tokens
  world.add(sequence(1, 490, 20));
  world.add(sequence(2, 490, 20));
  world.add(sequence(3, 1, 1));
  ASSERT_TRUE(world.step());
  EXPECT_EQ(2U, world.scheduler.n_running());
  EXPECT_EQ(1U, world.scheduler.n_waiting());  // every block that is left is for those who run
  world.scheduler.remove(1);
  ASSERT_TRUE(world.step());
  EXPECT_EQ(0U, world.scheduler.n_waiting());
}

TEST(Scheduler, TakesBlocksFromTheLastAndLetsItGoOnLater) {
  World world;
  world.add(sequence(1, 300, 210));
  world.add(sequence(2, 300, 210));
  world.add(sequence(3, 300, 210));  // 57 of 64 blocks; together they become 96
  for (int i = 0; i < 5'000 && world.step(); ++i) {
    ASSERT_TRUE(world.blocks.check_integrity());
  }
  EXPECT_EQ(3U, world.n_done);
  EXPECT_GT(world.scheduler.n_preempted(), 0U);
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
}

TEST(Scheduler, LetsATenantHaveItsPlacesAtOnce) {
  World world;
  for (GenerationId id = 1; id <= 8; ++id) world.add(sequence(id, 3, 100, "many"));
  ASSERT_TRUE(world.step());
  EXPECT_EQ(4U, world.scheduler.n_running());
  world.add(sequence(20, 3, 100, "few"));
  world.add(sequence(21, 3, 100, "few"));
  world.add(sequence(22, 3, 100, "few"));
  ASSERT_TRUE(world.step());
  std::map<std::string, int> n;
  for (const auto& running : world.scheduler.running()) ++n[running->request.tenant];
  EXPECT_EQ(2, n["many"]);  // the first two of them
  EXPECT_EQ(2, n["few"]);
  EXPECT_EQ(2U, world.scheduler.n_preempted());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(world.step());
  EXPECT_EQ(2U, world.scheduler.n_preempted());  // and no to and fro
}

TEST(Scheduler, StopsBackgroundWhenSomebodyComes) {
  World world;
  auto background = sequence(1, 200, 0);
  background->request.priority = Priority::kBackground;
  world.add(std::move(background));
  ASSERT_TRUE(world.step());
  EXPECT_TRUE(world.scheduler.is_background());
  world.add(sequence(2, 3, 2));
  ASSERT_TRUE(world.schedule());
  ASSERT_EQ(1U, world.pieces.size());
  EXPECT_EQ(2U, world.pieces[0].sequence->id);
  world.commit();
  while (world.step()) {
  }
  EXPECT_EQ(2U, world.n_done);
}

TEST(Scheduler, KeepsPromptsFromSlowingDecodingDown) {
  World world;
  world.add(sequence(1, 3, 400));
  world.add(sequence(2, 3, 400));
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(world.schedule());
    world.scheduler.note_time(0.010 + 0.001 * world.batch.n_rows());
    world.commit();
  }
  world.add(sequence(3, 60, 1));  // so that the cost of rows is learnt
  while (world.scheduler.find(3) != nullptr) {
    ASSERT_TRUE(world.schedule());
    world.scheduler.note_time(0.010 + 0.001 * world.batch.n_rows());
    world.commit();
  }
  world.add(sequence(4, 300, 1));
  ASSERT_TRUE(world.schedule());
  // Two rows take 12 ms; in 21 ms there is room for 11, and a whole tile costs no more.
  EXPECT_EQ(16U, world.batch.n_rows());
}

/// Sequences that say the same 20 tokens over and over, so that each guess is right, and from number 100 on some that
/// never say anything twice. A step takes 10 ms and 1 for each row.
struct Repeaters {
  explicit Repeaters(std::uint32_t n_parallel, std::uint32_t n_max_rows)
      : scheduler({.n_parallel = n_parallel,
                   .n_max_rows = n_max_rows,
                   .n_ctx_tok = 512,
                   .n_max_draft_tok = 8},
                  blocks) {}
  void add(GenerationId id) {
    auto repeating = sequence(id, 50, 400);
    for (std::size_t t = 0; t < 50; ++t) repeating->tokens[t] = token_at(id, t);
    scheduler.add(std::move(repeating), 0);
  }
  static TokenId token_at(GenerationId id, std::size_t position) {
    return static_cast<TokenId>(id < 100 ? position % 20 : position);
  }
  void commit() {
    scheduler.note_time(0.010 + 0.001 * batch.n_rows());
    for (const StepPiece& piece : pieces) {
      piece.sequence->n_computed += piece.n_tok;
      piece.sequence->tokens.push_back(token_at(piece.sequence->id, piece.sequence->tokens.size()));
      piece.sequence->drafter.note(piece.n_draft, piece.n_draft);
    }
  }
  bool schedule() { return scheduler.schedule(batch, pieces, 0); }

  BlockPool blocks{512};
  Scheduler scheduler;
  StepBatch batch;
  std::vector<StepPiece> pieces;
};

TEST(Scheduler, GuessesNothingWhileAPromptWaitsAndKeepsThePaceThatGuessesHad) {
  Repeaters world(4, 64);
  for (GenerationId id = 1; id <= 2; ++id) world.add(id);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(world.schedule());
    world.commit();
  }
  ASSERT_EQ(18U, world.batch.n_rows());  // 28 ms
  world.scheduler.add(sequence(3, 300, 100), 0);
  ASSERT_TRUE(world.schedule());
  ASSERT_EQ(3U, world.pieces.size());
  EXPECT_EQ(0U, world.pieces[0].n_draft + world.pieces[1].n_draft);
  // In 1.75 x 28 ms: of the two rows alone it would be 1.75 x 12.
  EXPECT_GE(world.batch.n_rows(), 32U);
  EXPECT_EQ(0U, world.batch.n_rows() % 16);
}

TEST(Scheduler, GuessesLessForEachTheMoreDecode) {
  Repeaters world(16, 256);
  for (GenerationId id = 1; id <= 9; ++id) world.add(id);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(world.schedule());
    world.commit();
  }
  ASSERT_EQ(9U, world.pieces.size());
  for (const StepPiece& piece : world.pieces) EXPECT_EQ(6U, piece.n_draft);  // 63 of 64 rows
}

TEST(Scheduler, BeginsNoTileForFewGuesses) {
  Repeaters world(16, 256);
  world.add(1);
  for (GenerationId id = 101; id <= 115; ++id) world.add(id);
  std::uint32_t n_most = 0;
  for (int i = 0; i < 250; ++i) {
    ASSERT_TRUE(world.schedule());
    if (i >= 100) n_most = std::max(n_most, world.batch.n_rows());  // prompts are done
    world.commit();
  }
  EXPECT_EQ(16U, n_most);
}

TEST(Scheduler, GivesAWholeStepToATenantWithoutItsPlaces) {
  World world;
  for (GenerationId id = 1; id <= 4; ++id) world.add(sequence(id, 3, 400, "many"));
  ASSERT_TRUE(world.step());
  ASSERT_TRUE(world.step());
  EXPECT_FALSE(world.scheduler.is_in_the_way_of_newcomers());  // nothing but decoding
  world.add(sequence(5, 300, 1, "few"));
  ASSERT_TRUE(world.schedule());
  EXPECT_EQ(4U, world.pieces.size());  // one of the others had to make place
  EXPECT_EQ(5U, world.pieces.back().sequence->id);
  EXPECT_EQ(61U, world.pieces.back().n_tok);  // all of 64 rows that the three others leave
}

TEST(Scheduler, IsInTheWayOfNewcomersWithMoreThanAPart) {
  World world;
  for (GenerationId id = 1; id <= 2; ++id) world.add(sequence(id, 100, 400, "many"));
  ASSERT_TRUE(world.schedule());
  EXPECT_FALSE(world.scheduler.is_in_the_way_of_newcomers());  // two of four places
  world.commit();
  world.add(sequence(3, 100, 400, "many"));
  ASSERT_TRUE(world.schedule());
  EXPECT_TRUE(world.scheduler.is_in_the_way_of_newcomers());
}

TEST(Scheduler, ComputesACommonBeginningOnce) {
  CachedWorld world;
  for (GenerationId id = 1; id <= 4; ++id) world.add(sequence(id, 200, 5));
  std::uint32_t n_rows = 0;
  while (world.step()) n_rows += world.batch.n_rows();
  EXPECT_EQ(4U, world.n_done);
  // 200 tokens once; of the others the last, incomplete block; and the tokens of the answers.
  EXPECT_LE(n_rows, 200U + 3 * 24 + 4 * 5);
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
}

TEST(Scheduler, ComputesAPromptWithoutAnswerWhenNoTokensAreAsked) {
  World world;
  world.add(sequence(1, 20, 0));
  ASSERT_TRUE(world.schedule());
  EXPECT_FALSE(world.pieces[0].has_output);
  EXPECT_TRUE(world.batch.step().output_rows.empty());
}

/// Random tenants, priorities, lengths, cancels; what must hold whatever comes.
void simulate(std::uint32_t n_arrivals, std::uint32_t seed) {
  CachedWorld world;
  std::mt19937 random(seed);
  std::map<GenerationId, std::int64_t> open;  // and when it came
  GenerationId last = 0;
  std::int64_t longest_ms = 0;
  std::uint64_t n_cancelled = 0;
  world.on_done = [&](const Sequence& s) {
    longest_ms = std::max(longest_ms, world.now_ms - open.at(s.id));
    EXPECT_LE(s.n_cached, s.n_prompt);
    open.erase(s.id);
  };
  while (last < n_arrivals || !open.empty()) {
    for (unsigned burst = random() % 4; burst > 0 && last < n_arrivals && open.size() < 200;
         --burst) {
      open[++last] = world.now_ms;
      auto s =
          sequence(last, static_cast<std::uint32_t>(1 + random() % 60),
                   static_cast<std::uint32_t>(random() % 8), std::string(1, "abc"[random() % 3]));
      s->request.priority = static_cast<Priority>(random() % kNumPriorities);
      s->tokens[0] = static_cast<TokenId>(random() % 5);
      world.add(std::move(s));
    }
    if (random() % 64 == 0 && !open.empty()) {
      const auto it = open.lower_bound(1 + random() % last);
      if (it != open.end() && world.scheduler.remove(it->first) != nullptr) {
        open.erase(it);
        ++n_cancelled;
      }
    }
    ASSERT_TRUE(world.step() || open.empty());
    ASSERT_LE(world.batch.n_rows(), 64U);
    ASSERT_LE(world.scheduler.n_running(), 4U);
    if (world.now_ms % 4096 < 3) {
      ASSERT_TRUE(world.Memory::cache.check_integrity());
    }
  }
  EXPECT_LT(longest_ms,
            3 * FairQueue::kRiseMs);  // nobody starves: whoever waited that long is first
  EXPECT_EQ(0U, world.scheduler.n_blocks_used());
  EXPECT_EQ(world.n_done + n_cancelled, last);
  EXPECT_TRUE(world.Memory::cache.check_integrity());
  std::printf("%u arrivals: longest %lld ms, %llu preempted\n", n_arrivals,
              static_cast<long long>(longest_ms),
              static_cast<unsigned long long>(world.scheduler.n_preempted()));
}

TEST(Scheduler, FinishesEverybodyOverAMillionRandomArrivals) { simulate(1'000'000, 3); }

/// How far apart two tenants that always want get in rows, each divided by its weight. "two" sends ten times as many.
double largest_difference(Priority priority_of_two, std::uint32_t weight_of_two) {
  World world;
  std::mt19937 random(5);
  std::map<std::string, std::uint64_t> n_rows;
  GenerationId last = 0;
  std::map<std::string, int> n_open;
  world.on_done = [&](const Sequence& s) { --n_open[s.request.tenant]; };
  double largest = 0.0;
  for (int i = 0; i < 20'000; ++i) {
    while (n_open["one"] < 6 || n_open["two"] < 60) {
      const std::string tenant = n_open["one"] < 6 ? "one" : "two";
      ++n_open[tenant];
      auto s = sequence(++last, static_cast<std::uint32_t>(1 + random() % 200),
                        static_cast<std::uint32_t>(1 + random() % 50), tenant);
      if (tenant == "two") s->request.priority = priority_of_two;
      if (tenant == "two") s->request.tenant_weight = weight_of_two;
      world.add(std::move(s));
    }
    EXPECT_TRUE(world.schedule());
    for (const StepPiece& piece : world.pieces)
      n_rows[piece.sequence->request.tenant] += piece.n_tok;
    world.commit();
    if (i > 100) {
      const double difference =
          static_cast<double>(n_rows["one"]) - static_cast<double>(n_rows["two"]) / weight_of_two;
      largest = std::max(largest, std::abs(difference));
    }
  }
  EXPECT_GT(n_rows["one"], 10'000U);
  return largest;
}

// The bound of virtual token counters: what tenants can have in work at once (Sheng et al. 2024, theorem 4.4).
constexpr double kFairnessBound = 2.0 * 4 * 250;

TEST(Scheduler, SharesRowsFairlyBetweenTenantsThatAlwaysWant) {
  EXPECT_LT(largest_difference(Priority::kNormal, 1), kFairnessBound);
}

TEST(Scheduler, SharesRowsByWeight) {
  EXPECT_LT(largest_difference(Priority::kNormal, 3), kFairnessBound);
}

TEST(Scheduler, GivesATenantNoMoreForCallingEverythingUrgent) {
  EXPECT_LT(largest_difference(Priority::kHigh, 1), kFairnessBound);
}

TEST(Scheduler, ChargesNobodyForAStepThatWasAbandoned) {
  World world;
  world.add(sequence(1, 60, 100, "a"));
  world.add(sequence(2, 60, 100, "b"));
  ASSERT_TRUE(world.schedule());
  const GenerationId begun = world.pieces[0].sequence->id;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(world.schedule());
    EXPECT_EQ(begun, world.pieces[0].sequence->id);  // whoever was given up has not had its turn
  }
  world.commit();
  ASSERT_TRUE(world.schedule());
  EXPECT_NE(begun, world.pieces[1].sequence->id);
}

}  // namespace
}  // namespace deepwell::engine
