// Rule 10: an answer that moved is chosen anew at its last known positions, and compared.
#include <gtest/gtest.h>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

std::unique_ptr<Engine> open_model(const std::string& name,
                                   std::uint32_t n_mixed_budget_tok = 128) {
  auto engine = Engine::open({.load = {.path = (kTinyGoldens / (name + ".gguf")).string(),
                                       .n_threads = 2,
                                       .n_ctx_tok = 256,
                                       .n_max_rows = 4},
                              .name = "tiny",
                              .n_parallel = 4,
                              .n_mixed_budget_tok = n_mixed_budget_tok},
                             null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest sampled_with_penalties() {
  return {.prompt = {5, 6, 7, 8, 9, 10, 11},
          .sampling = {.temperature = 0.9F,
                       .top_p = 0.95F,
                       .repetition_penalty = 1.3F,
                       .frequency_penalty = 0.4F,
                       .presence_penalty = 0.2F,
                       .seed = 11},
          .max_tokens = 40,
          .ignore_end = true};
}

GenerateRequest greedy() {
  GenerateRequest request = sampled_with_penalties();
  request.sampling = {.temperature = 0.0F};
  return request;
}

GenerateRequest resumed_at(GenerateRequest request, const std::vector<TokenId>& answer,
                           std::size_t n_known, std::uint32_t n_verify_tok) {
  request.generated.assign(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(n_known));
  request.n_verify_tok = n_verify_tok;
  return request;
}

TEST(VerifiedResume, FindsTheSameTokensInEveryTinyModel) {
  for (const TinyGolden& golden : read_tiny_goldens()) {
    auto engine = open_model(golden.name);
    for (const GenerateRequest& whole : {greedy(), sampled_with_penalties()}) {
      const auto expected = run_to_end(*engine, whole)->ids();
      ASSERT_EQ(40U, expected.size());
      for (const std::size_t n_known : {1U, 2U, 9U, 25U, 39U}) {
        const auto sink = run_to_end(*engine, resumed_at(whole, expected, n_known, 8));
        EXPECT_EQ(expected, sink->ids()) << golden.name << " from " << n_known;
        EXPECT_EQ(0U, sink->n_mismatched_tok()) << golden.name << " from " << n_known;
      }
    }
  }
}

TEST(VerifiedResume, CountsAFalsifiedIdAndKeepsIt) {
  auto engine = open_model("llama-tied-gqa2-d16-f16");
  for (const GenerateRequest& whole : {greedy(), sampled_with_penalties()}) {
    const auto expected = run_to_end(*engine, whole)->ids();
    // The false id among those that are verified: first, in the middle, last; and one before them.
    for (const std::size_t at : {12U, 15U, 19U, 11U}) {
      GenerateRequest resumed = resumed_at(whole, expected, 20, 8);
      resumed.generated[at] = (resumed.generated[at] + 100) % 250;
      const auto sink = run_to_end(*engine, resumed);
      EXPECT_EQ(40U, sink->ids().size());
      EXPECT_TRUE(
          std::equal(resumed.generated.begin(), resumed.generated.end(), sink->ids().begin()));
      if (at != 11) {
        EXPECT_GE(sink->n_mismatched_tok(), 1U) << at;
      }
      EXPECT_LE(sink->n_mismatched_tok(), 8U);
    }
  }
}

TEST(VerifiedResume, TellsMismatchesBeforeTheFirstNewToken) {
  auto engine = open_model("llama-tied-gqa2-d16-f16");
  GenerateRequest resumed = greedy();
  resumed.generated = {1, 2, 3, 4, 5, 6};  // nothing that this model would say
  resumed.n_verify_tok = 6;
  struct First final : GenerationSink {
    void on_event(GenerationEvent event) override {
      if (n_first_ids == 0 && !event.ids.empty()) {
        n_first_ids = static_cast<std::uint32_t>(event.ids.size());
        n_mismatched_by_then = n_mismatched + event.n_mismatched_tok;
      }
      n_mismatched += event.n_mismatched_tok;
      if (event.is_last()) is_done.store(true);
    }
    std::uint32_t n_first_ids = 0, n_mismatched = 0, n_mismatched_by_then = 0;
    std::atomic<bool> is_done{false};
  };
  auto sink = std::make_shared<First>();
  ASSERT_TRUE(engine->submit(resumed, sink));
  for (int i = 0; i < 10'000 && !sink->is_done.load(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(sink->is_done.load());
  EXPECT_GE(sink->n_mismatched, 5U);
  EXPECT_EQ(sink->n_mismatched, sink->n_mismatched_by_then);
}

TEST(VerifiedResume, WorksAcrossChunksAndBesideOthers) {
  // Chunks of three tokens: the verified rows lie in several steps, beside sequences that decode.
  auto engine = open_model("qwen2-untied-gqa2-d32-f16", 3);
  const auto expected = run_to_end(*engine, sampled_with_penalties())->ids();
  auto other = std::make_shared<Collector>();
  GenerateRequest background = greedy();
  background.max_tokens = 240;
  ASSERT_TRUE(engine->submit(background, other));
  for (const std::size_t n_known : {3U, 17U, 31U, 39U}) {
    // Also more than there are.
    const auto sink =
        run_to_end(*engine, resumed_at(sampled_with_penalties(), expected, n_known, 30));
    EXPECT_EQ(expected, sink->ids());
    EXPECT_EQ(0U, sink->n_mismatched_tok()) << n_known;
  }
  other->wait_done();
}

TEST(VerifiedResume, TakesTheEndWhereTheAnswerWentOnForAMismatch) {
  auto engine = open_model("llama-tied-gqa2-d16-f16");
  TokenId end = 0;
  while (!engine->describe().tokenizer->is_end(end)) ++end;
  GenerateRequest resumed = greedy();
  resumed.generated = run_to_end(*engine, greedy())->ids();
  resumed.generated.resize(4);
  resumed.ignore_end = false;
  resumed.sampling.logit_bias = {{end, 100.0F}};
  resumed.n_verify_tok = 4;
  const auto sink = run_to_end(*engine, resumed);
  EXPECT_EQ(4U, sink->n_mismatched_tok());
  EXPECT_EQ(4U, sink->ids().size());
  EXPECT_EQ(FinishReason::kStop, sink->finish());
}

TEST(VerifiedResume, DoesNotVerifyWhatIsForcedWhileItComputes) {
  auto engine = open_model("llama-tied-gqa2-d16-f16", 1);
  GenerateRequest whole = greedy();
  whole.prompt.assign(100, 7);
  const auto expected = run_to_end(*engine, whole)->ids();
  auto sink = std::make_shared<Collector>(std::chrono::milliseconds(2));
  GenerateRequest resumed = resumed_at(whole, expected, 10, 8);
  sink->expect(resumed.generated);
  const auto id = engine->submit(resumed, sink);
  ASSERT_TRUE(id);
  ASSERT_TRUE(engine->force(*id, {1, 2, 3}));
  sink->wait_done();
  EXPECT_EQ(0U, sink->n_mismatched_tok());
  EXPECT_EQ(40U, sink->ids().size());
}

}  // namespace
}  // namespace deepwell::engine
