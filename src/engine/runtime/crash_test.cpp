// What a dying engine leaves behind, and steps that nobody wants any more.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/child_process.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

constexpr TokenId kPoison = 77;

EngineOptions tiny_options() {
  return {.load = {.path = (kTinyGoldens / "llama-tied-gqa2-d16-f16.gguf").string(),
                   .n_threads = 2,
                   .n_ctx_tok = 256},
          .name = "tiny",
          .n_parallel = 4};
}

GenerateRequest request(std::uint64_t tag, std::uint32_t max_tokens) {
  return {.prompt = {5, 6, 7},
          .sampling = {.temperature = 0.0F},
          .max_tokens = max_tokens,
          .ignore_end = true,
          .tag = tag};
}

/// Shared with children, zeroed.
struct SharedPage {
  SharedPage()
      : page(static_cast<CrashPage*>(::mmap(nullptr, sizeof(CrashPage), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~SharedPage() { ::munmap(page, sizeof(CrashPage)); }
  CrashPage* page;
};

TEST(CrashPage, NamesTheSequencesOfTheStepInWhichTheEngineDied) {
  SharedPage shared;
  const int status = wait_child(start_child([&] {
    EngineOptions options = tiny_options();
    options.crash_page = shared.page;
    options.poison_token = kPoison;
    auto engine = Engine::open(options, null_log());
    ASSERT_TRUE(engine);
    auto harmless = std::make_shared<Collector>(std::chrono::milliseconds(1));
    ASSERT_TRUE((*engine)->submit(request(100, 240), harmless));
    harmless->wait_tokens(3);
    GenerateRequest poisoned = request(200, 10);
    poisoned.prompt.push_back(kPoison);
    run_to_end(**engine, poisoned);
  }));
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(SIGABRT, WTERMSIG(status));
  EXPECT_EQ((std::vector<std::uint64_t>{100, 200}), shared.page->read());
}

TEST(CrashPage, DoesNotTakeAGeneratedTokenForPoison) {
  EngineOptions options = tiny_options();
  options.poison_token = kPoison;
  auto engine = Engine::open(options, null_log());
  ASSERT_TRUE(engine);
  GenerateRequest resumed = request(1, 5);
  resumed.generated = {kPoison};
  EXPECT_EQ(5U, run_to_end(**engine, resumed)->ids().size());
}

TEST(CrashPage, IsEmptyBetweenSteps) {
  SharedPage shared;
  shared.page->n_tags.store(3);  // left by a predecessor
  EngineOptions options = tiny_options();
  options.crash_page = shared.page;
  auto engine = Engine::open(options, null_log());
  ASSERT_TRUE(engine);
  EXPECT_TRUE(shared.page->read().empty());
  struct Witness final : GenerationSink {
    explicit Witness(const CrashPage& watched) : page(watched) {}
    void on_event(GenerationEvent event) override {  // inside a step
      if (page.read() == std::vector<std::uint64_t>{9}) ++n_named;
      ++n_events;
      if (event.is_last()) is_done.store(true);
    }
    const CrashPage& page;
    int n_named = 0, n_events = 0;
    std::atomic<bool> is_done{false};
  };
  auto sink = std::make_shared<Witness>(*shared.page);
  ASSERT_TRUE((*engine)->submit(request(9, 20), sink));
  for (int i = 0; i < 5000 && !(sink->is_done.load() && shared.page->read().empty()); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(20, sink->n_events);
  EXPECT_EQ(20, sink->n_named);
  EXPECT_TRUE(shared.page->read().empty());
}

TEST(CrashPage, HoldsAsManyTagsAsItHasRoomFor) {
  CrashPage page{};
  const std::vector<std::uint64_t> tags(CrashPage::kMaxTags + 5, 7);
  page.begin_step(tags);
  EXPECT_EQ(CrashPage::kMaxTags, page.read().size());
  page.end_step();
  EXPECT_TRUE(page.read().empty());
}

TEST(AbandonedStep, EndsAfterTheLayerInWhichItBecameUnwanted) {
  LoadedModel model = load_or_die({.path = tiny_options().load.path, .n_threads = 2});
  ASSERT_GE(model.model->hyper.n_layers, 2U);
  std::vector<std::uint32_t> blocks;
  model.blocks.take(1, blocks);
  StepBatch batch;
  const std::vector<TokenId> tokens{5, 6, 7};
  batch.add(tokens, 0, blocks, Outputs::kLast);
  EXPECT_TRUE(model.forward(batch));
  const auto logits = model.logits(0);
  const std::vector<float> expected(logits.begin(), logits.end());
  const std::uint64_t n_before = model.device->n_layers_done();
  std::atomic<bool> is_unwanted{true};
  EXPECT_FALSE(model.forward(batch, &is_unwanted));
  EXPECT_EQ(n_before + 1, model.device->n_layers_done());
  // The next step is whole again.
  is_unwanted.store(false);
  EXPECT_TRUE(model.forward(batch, &is_unwanted));
  const auto again = model.logits(0);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), again.begin(), again.end()));
}

TEST(AbandonedStep, FollowsWhenAllOfItsSequencesAreCancelled) {
  auto opened = Engine::open(tiny_options(), null_log());
  ASSERT_TRUE(opened);
  Engine& engine = **opened;
  const std::uint64_t n_layers =
      load_or_die({.path = tiny_options().load.path}).model->hyper.n_layers;
  std::mt19937 random(6);
  bool is_abandoned = false;
  for (int i = 0; i < 3000 && !is_abandoned; ++i) {
    GenerateRequest doomed = request(1, 1);
    doomed.prompt.assign(250, static_cast<TokenId>(i % 250));
    const auto id = engine.submit(doomed, std::make_shared<Collector>());
    ASSERT_TRUE(id);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 1000));
    engine.cancel(*id);
    while (engine.attach(*id, 0, std::make_shared<Collector>())) std::this_thread::yield();
    is_abandoned = engine.status().n_layers_done % n_layers != 0;
  }
  EXPECT_TRUE(is_abandoned) << "every step went through all layers";
}

TEST(AbandonedStep, HurtsNobodyElse) {
  auto opened = Engine::open(tiny_options(), null_log());
  ASSERT_TRUE(opened);
  Engine& engine = **opened;
  const auto expected = run_to_end(engine, request(1, 240))->ids();
  std::mt19937 random(5);
  for (int round = 0; round < 20; ++round) {
    const bool has_survivor = round % 2 == 0;
    auto survivor = std::make_shared<Collector>();
    if (has_survivor) {
      ASSERT_TRUE(engine.submit(request(2, 240), survivor));
    }
    for (int i = 0; i < 20; ++i) {
      GenerateRequest doomed = request(3, 20);
      doomed.prompt.assign(200, static_cast<TokenId>(10 + i));
      const auto id = engine.submit(doomed, std::make_shared<Collector>());
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 1500));
      if (id) engine.cancel(*id);
    }
    if (has_survivor) {
      survivor->wait_done();
      EXPECT_EQ(expected, survivor->ids()) << round;
    }
    for (int i = 0; i < 2000 && engine.status().n_kv_blocks_used > 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(0U, engine.status().n_kv_blocks_used);
  }
}

}  // namespace
}  // namespace deepwell::engine
