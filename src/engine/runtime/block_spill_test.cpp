// Blocks beyond memory: the queues alone, and engines that share one store.
#include "engine/runtime/block_spill.hpp"

#include <gtest/gtest.h>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/testing/memory_block_store.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kBlockBytes = 64;

BlockLabel label_of(std::uint8_t number) {
  BlockLabel label;
  label.name.bytes[0] = number;
  label.parent.bytes[1] = number;
  label.ids[3] = number;
  return label;
}

std::vector<std::byte> bytes_of(std::uint8_t number) {
  return std::vector<std::byte>(kBlockBytes, std::byte{number});
}

class CountingLog final : public Log {
 public:
  void write(LogLevel level, std::string_view) override {
    if (level == LogLevel::kWarn) ++n_warnings;
  }
  std::atomic<int> n_warnings{0};
};

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

struct World {
  explicit World(std::chrono::milliseconds rest = 100ms, std::chrono::milliseconds patience = 10s)
      : spill(store,
              {.fingerprint = "f",
               .block_bytes = kBlockBytes,
               .max_copy_bytes = 4 * kBlockBytes,
               .patience = patience,
               .rest = rest},
              log) {}
  BlockNews settled(std::uint8_t number) {
    BlockNews news = BlockNews::kComing;
    EXPECT_TRUE(
        eventually([&] { return (news = spill.ask(label_of(number))) != BlockNews::kComing; }));
    return news;
  }

  std::shared_ptr<MemoryBlockStore> store = std::make_shared<MemoryBlockStore>();
  CountingLog log;
  BlockSpill spill;
};

TEST(BlockSpill, GivesBackWhatWasKept) {
  World world;
  EXPECT_EQ(BlockNews::kAbsent, world.spill.ask(label_of(7)));
  EXPECT_TRUE(world.spill.keep(label_of(7), bytes_of(7)));
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 1; }));
  ASSERT_EQ(BlockNews::kHere, world.settled(7));
  auto place = bytes_of(0);
  world.spill.take(label_of(7).name, place);
  EXPECT_EQ(bytes_of(7), place);
  EXPECT_EQ(1U, world.spill.counters().n_saved);
  EXPECT_EQ(1U, world.spill.counters().n_loaded);
}

TEST(BlockSpill, CopiesABlockOnce) {
  World world;
  world.store->pace = 300'000us;
  EXPECT_TRUE(world.spill.keep(label_of(1), bytes_of(1)));
  EXPECT_FALSE(world.spill.keep(label_of(1), bytes_of(1)));  // on its way
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 1; }));
  EXPECT_FALSE(world.spill.keep(label_of(1), bytes_of(1)));  // there: its use is noted
  EXPECT_TRUE(eventually([&] { return world.store->n_used() == 1; }));
}

TEST(BlockSpill, HoldsNoMoreCopiesThanItMay) {
  World world;
  world.store->pace = 300'000us;
  std::uint8_t n = 0;
  while (world.spill.can_keep()) world.spill.keep(label_of(n), bytes_of(n)), ++n;
  EXPECT_GE(n, 4);
  EXPECT_LE(n, 5);  // one may be on its way already
}

TEST(BlockSpill, DropsWhatNobodyTakes) {
  World world;
  for (std::uint8_t n = 0; n < 5; ++n) {
    ASSERT_TRUE(eventually([&] { return world.spill.can_keep(); }));
    world.spill.keep(label_of(n), bytes_of(n));
  }
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 5; }));
  for (std::uint8_t n = 0; n < 4; ++n) EXPECT_EQ(BlockNews::kHere, world.settled(n));
  EXPECT_EQ(BlockNews::kComing, world.spill.ask(label_of(4)));  // there is no room for it
  EXPECT_EQ(BlockNews::kHere, world.settled(4));
  EXPECT_EQ(5U, world.spill.counters().n_loaded);
}

TEST(BlockSpill, SavesAtItsEndWhatItWasGiven) {
  auto store = std::make_shared<MemoryBlockStore>();
  store->pace = 10'000us;
  {
    BlockSpill spill(store, {.fingerprint = "f", .block_bytes = kBlockBytes, .farewell = 60s},
                     null_log());
    for (std::uint8_t n = 0; n < 9; ++n) spill.keep(label_of(n), bytes_of(n));
  }
  EXPECT_EQ(9U, store->n_blocks());
}

TEST(BlockSpill, LeavesInTimeThoughTheStoreIsSlow) {
  auto store = std::make_shared<MemoryBlockStore>();
  store->pace = 100'000us;
  {
    BlockSpill spill(store, {.fingerprint = "f", .block_bytes = kBlockBytes, .farewell = 150ms},
                     null_log());
    for (std::uint8_t n = 0; n < 200; ++n) spill.keep(label_of(n), bytes_of(n));
  }
  EXPECT_LT(store->n_blocks(), 100U);
}

TEST(BlockSpill, RefusesWhatIsNotWhatWasSaved) {
  World world;
  world.spill.keep(label_of(1), bytes_of(1));
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 1; }));
  world.store->change_all([](auto& kept) { kept.is_damaged = true; });
  EXPECT_EQ(BlockNews::kAbsent, world.settled(1));
  EXPECT_EQ(1U, world.spill.counters().n_refused);
  EXPECT_EQ(0, world.log.n_warnings);  // nothing that anybody must look after
}

TEST(BlockSpill, PassesABrokenStoreOverWithOneWarning) {
  World world(30ms);
  world.spill.keep(label_of(1), bytes_of(1));
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 1; }));
  world.store->is_broken = true;
  EXPECT_EQ(BlockNews::kAbsent, world.settled(1));
  for (std::uint8_t n = 2; n < 12; ++n) {
    if (world.spill.can_keep()) world.spill.keep(label_of(n), bytes_of(n));
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(1, world.log.n_warnings);
  world.store->is_broken = false;
  EXPECT_TRUE(eventually([&] {
    if (world.spill.can_keep()) world.spill.keep(label_of(99), bytes_of(99));
    return world.store->n_blocks() == 2;
  }));
  EXPECT_EQ(BlockNews::kHere, world.settled(1));
}

TEST(BlockSpill, BeginsWhenTheStoreComesUpLater) {
  auto store = std::make_shared<MemoryBlockStore>();
  store->is_broken = true;
  BlockSpill spill(store, {.fingerprint = "f", .block_bytes = kBlockBytes, .rest = 10ms},
                   null_log());
  EXPECT_EQ("", store->fingerprint());
  store->is_broken = false;
  EXPECT_TRUE(eventually([&] { return store->fingerprint() == "f"; }));
}

TEST(BlockSpill, WaitsForAStoreThatHangsOnlySoLong) {
  World world(100ms, 30ms);
  world.spill.keep(label_of(1), bytes_of(1));
  ASSERT_TRUE(eventually([&] { return world.store->n_blocks() == 1; }));
  world.store->pace = 2'000'000us;
  EXPECT_EQ(BlockNews::kComing, world.spill.ask(label_of(1)));
  EXPECT_EQ(BlockNews::kAbsent, world.settled(1));  // in less than it takes to read
  EXPECT_EQ(0U, world.spill.counters().n_loaded);
}

TEST(BlockSpill, TellsWhenHalfOfWhatItHoldsIsSaved) {
  auto store = std::make_shared<MemoryBlockStore>();
  store->pace = 5'000us;
  std::atomic<int> n_calls{0};
  CountingLog log;
  BlockSpill spill(store,
                   {.fingerprint = "f",
                    .block_bytes = kBlockBytes,
                    .max_copy_bytes = 4 * kBlockBytes,
                    .on_room = [&] { ++n_calls; }},
                   log);
  std::uint8_t number = 0;
  const auto fill = [&] {
    while (spill.can_keep()) {
      ++number;
      spill.keep(label_of(number), bytes_of(number));
    }
  };
  for (int round = 1; round <= 3; ++round) {
    fill();
    EXPECT_TRUE(eventually([&] { return n_calls >= round; }));
    EXPECT_TRUE(spill.can_keep());
  }
  EXPECT_TRUE(eventually([&] { return store->n_blocks() == number; }));
  EXPECT_LE(n_calls, 3);
}

// --- engines ---------------------------------------------------------------------------------------------------------

std::unique_ptr<Engine> open_engine(std::shared_ptr<MemoryBlockStore> store,
                                    const char* model = "llama-tied-gqa2-d16-f16",
                                    KvType kv_type = KvType::kF16, std::uint32_t n_parallel = 2) {
  EngineOptions options;
  options.load.path = (kTinyGoldens / (std::string(model) + ".gguf")).string();
  options.load.n_threads = 2;
  options.load.n_ctx_tok = 256;
  options.load.kv_type = kv_type;
  options.name = "tiny";
  options.n_parallel = n_parallel;
  options.block_store = std::move(store);
  auto engine = Engine::open(std::move(options), null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest request_of(int stream) {
  GenerateRequest request;
  for (int t = 0; t < 165; ++t) request.prompt.push_back((t * 7 + stream * stream) % 250);
  request.sampling = {.temperature = 0.9F, .seed = static_cast<std::uint64_t>(stream)};
  request.max_tokens = 30;
  request.ignore_end = true;
  request.tenant = "some";
  return request;
}

std::vector<TokenId> answer_of(Engine& engine, int stream) {
  return run_to_end(engine, request_of(stream))->ids();
}

TEST(BlockStore, SparesALaterEngineAllButTheLastTokens) {
  auto store = std::make_shared<MemoryBlockStore>();
  std::vector<TokenId> expected;
  {
    auto engine = open_engine(store);
    expected = answer_of(*engine, 1);
  }
  EXPECT_EQ(12U, store->n_blocks());  // of 165 + 30 tokens, the last of which was never computed
  auto engine = open_engine(store);
  const auto sink = run_to_end(*engine, request_of(1));
  EXPECT_EQ(expected, sink->ids());
  EXPECT_EQ(160U, sink->n_cached_tok());
  EXPECT_EQ(5U, engine->status().n_prompt_tok);
}

TEST(BlockStore, KeepsWhatMemoryHadToForget) {
  auto store = std::make_shared<MemoryBlockStore>();
  auto engine = open_engine(store);
  std::vector<std::vector<TokenId>> expected;
  for (int s = 0; s < 6; ++s) expected.push_back(answer_of(*engine, s));  // memory holds two
  ASSERT_TRUE(eventually([&] { return store->n_blocks() == 72; }));
  for (int s = 0; s < 6; ++s) {
    const auto sink = run_to_end(*engine, request_of(s));
    EXPECT_EQ(expected[static_cast<std::size_t>(s)], sink->ids());
    EXPECT_EQ(160U, sink->n_cached_tok()) << s;
  }
  EXPECT_GE(engine->status().n_blocks_loaded, 40U);
}

TEST(BlockStore, GetsWhatWaitsWhileNothingRuns) {
  auto store = std::make_shared<MemoryBlockStore>();
  auto engine = open_engine(store, "llama-tied-gqa2-d16-f16", KvType::kF16, 40);
  store->pace = 2'000us;
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int s = 0; s < 40; ++s) {
    GenerateRequest request = request_of(s);
    request.max_tokens = 1;
    request.tenant = std::to_string(s);
    sinks.push_back(std::make_shared<Collector>());
    ASSERT_TRUE(engine->submit(std::move(request), sinks.back()));
  }
  for (const auto& sink : sinks) sink->wait_done();
  // 400 blocks, of which 256 fit into the queue: nobody sends mail any more.
  EXPECT_TRUE(eventually([&] { return engine->status().n_blocks_saved == 400; }))
      << engine->status().n_blocks_saved;
}

TEST(BlockStore, IsOfNoUseToAnotherTenantModelOrTypeOfKeys) {
  auto store = std::make_shared<MemoryBlockStore>();
  { answer_of(*open_engine(store), 1); }
  auto engine = open_engine(store);
  GenerateRequest foreign = request_of(1);
  foreign.tenant = "another";
  EXPECT_EQ(0U, run_to_end(*engine, foreign)->n_cached_tok());
  engine = open_engine(store, "llama-linear-gqa4-d16-f16");
  EXPECT_EQ(0U, run_to_end(*engine, request_of(1))->n_cached_tok());
  engine = open_engine(store, "llama-tied-gqa2-d16-f16", KvType::kQ8);
  EXPECT_EQ(0U, run_to_end(*engine, request_of(1))->n_cached_tok());
}

TEST(BlockStore, ChangesNoAnswerWhateverItDoes) {
  const auto expected = answer_of(*open_engine(nullptr), 1);
  for (const std::string what : {"damaged", "broken", "slow", "half"}) {
    auto store = std::make_shared<MemoryBlockStore>();
    { EXPECT_EQ(expected, answer_of(*open_engine(store), 1)); }
    int n = 0;
    store->change_all([&](auto& kept) {
      kept.is_damaged = what == "damaged" || (what == "half" && n++ % 2 == 0);
    });
    store->is_broken = what == "broken";
    if (what == "slow") store->pace = 30'000us;
    EXPECT_EQ(expected, answer_of(*open_engine(store), 1)) << what;
  }
}

TEST(BlockStore, LetsOthersGoOnWhileItReads) {
  auto store = std::make_shared<MemoryBlockStore>();
  { answer_of(*open_engine(store), 1); }
  store->pace = 100'000us;  // ten blocks: a second
  auto engine = open_engine(store);
  GenerateRequest other = request_of(2);
  other.prompt.resize(10);
  other.max_tokens = 200;
  auto reader = std::make_shared<Collector>(), waiting = std::make_shared<Collector>();
  ASSERT_TRUE(engine->submit(request_of(1), waiting));
  ASSERT_TRUE(engine->submit(other, reader));
  reader->wait_tokens(10);
  EXPECT_TRUE(waiting->ids().empty());
  waiting->wait_done();
  EXPECT_GT(waiting->n_cached_tok(), 0U);
  reader->wait_done();
  store->pace = 0us;
}

TEST(BlockStore, KeepsWhatWasCancelled) {
  auto store = std::make_shared<MemoryBlockStore>();
  auto engine = open_engine(store);
  auto sink = std::make_shared<Collector>(2ms);
  const auto id = engine->submit(request_of(1), sink);
  ASSERT_TRUE(id);
  sink->wait_tokens(3);
  engine->cancel(*id);
  EXPECT_TRUE(eventually([&] { return store->n_blocks() >= 10; }));
}

}  // namespace
}  // namespace deepwell::engine
