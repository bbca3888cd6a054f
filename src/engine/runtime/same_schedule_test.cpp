// One hash over batches, budgets, the cache, the store of blocks, preemption, guesses and draft models: the promise of same tokens, through the engine.
#include <gtest/gtest.h>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/testing/memory_block_store.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

/// Who guesses where the text itself gives nothing to guess from.
enum class Draft { kNone, kItself, kAnother, kAdaptive };

struct Variant {
  std::uint32_t n_parallel, n_longest, n_max_rows, n_max_draft_tok;
  bool is_cached;          // the answers are asked for a second time
  bool is_stored = false;  // ... of another engine, which has the blocks of the first from a store
  Draft draft = Draft::kNone;
};

/// Prompts that repeat themselves, so that guesses are made; some begin alike; sampled and greedy; of two tenants.
std::vector<GenerateRequest> requests() {
  std::vector<GenerateRequest> all;
  for (int i = 0; i < 8; ++i) {
    GenerateRequest request;
    for (int t = 0; t < 70 + 5 * i; ++t)
      request.prompt.push_back(20 + (t * t) % 9 + (t < 48 ? 0 : i % 3));
    request.sampling = {.temperature = i % 2 == 0 ? 0.0F : 0.3F,
                        .repetition_penalty = i == 5 ? 1.1F : 1.0F,
                        .seed = static_cast<std::uint64_t>(i)};
    request.max_tokens = 90;
    request.ignore_end = true;
    request.tenant.assign(1, i < 6 ? 'a' : 'b');
    all.push_back(std::move(request));
  }
  return all;
}

/// All tiny models have one vocabulary.
std::string another_than(const TinyGolden& golden) {
  const char* name = golden.name == "llama-tied-gqa2-d16-f16" ? "qwen2-tied-gqa7-d16-f16"
                                                              : "llama-tied-gqa2-d16-f16";
  return (kTinyGoldens / concat(name, ".gguf")).string();
}

std::unique_ptr<Engine> open_engine(const TinyGolden& golden, const Variant& variant,
                                    std::shared_ptr<BlockStore> store) {
  DraftModelOptions draft{.is_adaptive = variant.draft == Draft::kAdaptive};
  if (variant.draft != Draft::kNone) draft.path = golden.path();
  if (variant.draft == Draft::kAnother) draft.path = another_than(golden);
  auto engine = Engine::open({.load = {.path = golden.path(),
                                       .n_threads = 2,
                                       .n_ctx_tok = 208,
                                       .n_max_rows = variant.n_max_rows},
                              .name = "tiny",
                              .n_parallel = variant.n_parallel,
                              .n_longest = variant.n_longest,
                              .n_mixed_budget_tok = 20,
                              .n_max_draft_tok = variant.n_max_draft_tok,
                              .draft_model = draft,
                              .block_store = std::move(store)},
                             null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

std::vector<std::vector<TokenId>> answers(const TinyGolden& golden, const Variant& variant,
                                          GeneratorStatus& status) {
  const auto store = variant.is_stored ? std::make_shared<MemoryBlockStore>() : nullptr;
  auto engine = open_engine(golden, variant, store);
  std::vector<std::vector<TokenId>> all;
  for (int round = variant.is_cached ? 0 : 1; round < 2; ++round) {
    all.clear();
    if (round == 1 && variant.is_stored) {
      engine.reset();
      engine = open_engine(golden, variant, store);
    }
    std::vector<std::shared_ptr<Collector>> sinks;
    for (GenerateRequest& request : requests()) {
      sinks.push_back(std::make_shared<Collector>());
      EXPECT_TRUE(engine->submit(std::move(request), sinks.back()));
    }
    for (const auto& sink : sinks) {
      sink->wait_done();
      all.push_back(sink->ids());
    }
  }
  status = engine->status();
  return all;
}

TEST(SameTokens, ComeOutWhateverTheSchedulerDoes) {
  std::uint64_t n_preempted = 0, n_right = 0, n_wrong = 0, n_loaded = 0;
  for (const TinyGolden& golden : read_tiny_goldens()) {
    GeneratorStatus status;
    const auto expected = answers(golden, {1, 1, 512, 0, false}, status);
    for (const Variant& variant :
         {Variant{1, 1, 512, 8, false}, Variant{4, 4, 512, 0, false}, Variant{8, 2, 64, 8, false},
          Variant{8, 1, 24, 0, true}, Variant{6, 3, 512, 4, true}, Variant{3, 2, 64, 4, true, true},
          Variant{8, 1, 512, 0, true, true}, Variant{1, 1, 512, 8, false, false, Draft::kItself},
          Variant{8, 2, 64, 3, true, false, Draft::kAnother},
          Variant{6, 1, 512, 5, true, true, Draft::kItself},
          Variant{4, 4, 24, 4, true, false, Draft::kAdaptive}}) {
      EXPECT_EQ(expected, answers(golden, variant, status))
          << golden.name << ": " << variant.n_parallel << " at once, memory for "
          << variant.n_longest << ", " << variant.n_max_draft_tok << " guesses"
          << (variant.is_stored ? ", from a store" : "")
          << (variant.draft != Draft::kNone ? ", a draft model" : "");
      n_loaded += status.n_blocks_loaded;
      n_preempted += status.n_preempted;
      n_right += status.n_right_draft_tok;
      n_wrong += status.n_draft_tok - status.n_right_draft_tok;
    }
  }
  // All of it has happened.
  EXPECT_GT(n_preempted, 20U);
  EXPECT_GT(n_right, 100U);
  EXPECT_GT(n_wrong, 100U);
  EXPECT_GT(n_loaded, 1000U);
}

}  // namespace
}  // namespace deepwell::engine
