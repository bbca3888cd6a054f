// The engine behind Generator, on tiny models: answers, limits, cancelling, forcing, re-attaching, crowds.
#include "engine/runtime/engine.hpp"

#include <gtest/gtest.h>

#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

constexpr std::chrono::milliseconds kPace{1};

std::unique_ptr<Engine> open_tiny(std::uint32_t n_parallel = 4, std::uint32_t n_max_waiting = 8,
                                  bool keeps_tokenizer = true) {
  auto engine =
      Engine::open({.load = {.path = (kTinyGoldens / "llama-tied-gqa2-d16-f16.gguf").string(),
                             .n_threads = 2,
                             .n_ctx_tok = 256},
                    .name = "tiny",
                    .n_parallel = n_parallel,
                    .n_max_waiting = n_max_waiting,
                    .keeps_tokenizer = keeps_tokenizer},
                   null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest request(std::uint32_t max_tokens, float temperature = 0.0F,
                        std::uint64_t seed = 1) {
  return {.prompt = {5, 6, 7, 8, 9},
          .sampling = {.temperature = temperature, .seed = seed},
          .max_tokens = max_tokens,
          .ignore_end = true};
}

std::vector<TokenId> answer(Engine& engine, GenerateRequest request) {
  auto sink = std::make_shared<Collector>();
  const auto id = engine.submit(std::move(request), sink);
  if (!id) ADD_FAILURE() << id.error().message;
  sink->wait_done();
  return sink->ids();
}

TEST(Engine, AnswersWithTheSameTokensEveryTime) {
  auto engine = open_tiny();
  const auto greedy = answer(*engine, request(40));
  EXPECT_EQ(40U, greedy.size());
  EXPECT_EQ(greedy, answer(*engine, request(40)));
  const auto drawn = answer(*engine, request(40, 1.0F, 7));
  EXPECT_EQ(drawn, answer(*engine, request(40, 1.0F, 7)));
  EXPECT_NE(drawn, answer(*engine, request(40, 1.0F, 8)));
}

TEST(Engine, AnswersACrowdAsItAnswersEachAlone) {
  auto engine = open_tiny(4, 32);
  std::vector<std::vector<TokenId>> alone;
  for (std::uint64_t seed = 0; seed < 16; ++seed)
    alone.push_back(answer(*engine, request(30, 1.0F, seed)));
  std::vector<std::shared_ptr<Collector>> sinks;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    sinks.push_back(std::make_shared<Collector>());
    ASSERT_TRUE(engine->submit(request(30, 1.0F, seed), sinks.back()));
  }
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    sinks[i]->wait_done();
    EXPECT_EQ(alone[i], sinks[i]->ids()) << i;
  }
}

TEST(Engine, GoesOnAfterWhatAnEarlierAttemptGenerated) {
  auto engine = open_tiny();
  for (const float temperature : {0.0F, 1.0F}) {
    GenerateRequest whole = request(30, temperature, 3);
    whole.sampling.repetition_penalty = 1.2F;
    const auto expected = answer(*engine, whole);
    GenerateRequest resumed = whole;
    resumed.generated.assign(expected.begin(), expected.begin() + 11);
    auto sink = std::make_shared<Collector>();
    sink->expect_from(11);
    ASSERT_TRUE(engine->submit(resumed, sink));
    sink->wait_done();
    const auto got = sink->ids();
    EXPECT_TRUE(std::equal(expected.begin() + 11, expected.end(), got.begin() + 11, got.end()));
  }
}

TEST(Engine, EndsAtOnceWhenNothingIsLeftToGenerate) {
  auto engine = open_tiny();
  for (const std::size_t n_generated : {10U, 11U, 256U - 5U}) {
    GenerateRequest complete = request(n_generated < 100 ? 10 : 100'000);
    complete.generated.assign(n_generated, 11);
    auto sink = std::make_shared<Collector>();
    sink->expect_from(static_cast<std::uint32_t>(n_generated));
    ASSERT_TRUE(engine->submit(complete, sink));
    sink->wait_done();
    EXPECT_EQ(n_generated, sink->ids().size());
    EXPECT_EQ(FinishReason::kLength, sink->finish());
  }
  EXPECT_EQ(0U, engine->status().n_kv_blocks_used);
}

TEST(Engine, EndsAnAnswerWhoseForcedTokensLeaveNoRoom) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>(kPace);
  const auto id = engine->submit(request(100), sink);
  ASSERT_TRUE(id);
  sink->wait_tokens(2);
  ASSERT_TRUE(engine->force(*id, std::vector<TokenId>(150, 11)));
  sink->wait_done();
  ASSERT_TRUE(sink->error());
  EXPECT_EQ(Code::kOutOfRange, sink->error()->code);
}

TEST(Engine, StopsAtTheEndTokenAndDoesNotShowIt) {
  auto engine = open_tiny();
  const Tokenizer& tokenizer = *engine->describe().tokenizer;
  TokenId end = -1;
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.n_vocab()); ++id) {
    if (tokenizer.is_end(id)) end = id;
  }
  ASSERT_GE(end, 0);
  GenerateRequest r = request(20);
  r.ignore_end = false;
  r.sampling.logit_bias = {{end, 100.0F}};
  auto sink = std::make_shared<Collector>();
  ASSERT_TRUE(engine->submit(r, sink));
  sink->wait_done();
  EXPECT_TRUE(sink->ids().empty());
  EXPECT_EQ(FinishReason::kStop, sink->finish());
}

TEST(Engine, KnowsEndTokensAndVocabularyWithoutKeepingItsTokenizer) {
  auto engine = open_tiny(4, 8, /*keeps_tokenizer=*/false);
  EXPECT_EQ(nullptr, engine->describe().tokenizer);
  const auto vocabulary = engine->vocabulary();
  ASSERT_TRUE(vocabulary) << vocabulary.error().message;
  EXPECT_FALSE(vocabulary->merges.empty());
  const auto tokenizer = Tokenizer::create(*vocabulary);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  GenerateRequest r = request(20);
  r.ignore_end = false;
  r.sampling.logit_bias = {{*vocabulary->eos, 100.0F}};
  auto sink = std::make_shared<Collector>();
  ASSERT_TRUE(engine->submit(r, sink));
  sink->wait_done();
  EXPECT_TRUE((*tokenizer)->is_end(*vocabulary->eos));
  EXPECT_TRUE(sink->ids().empty());
  EXPECT_EQ(FinishReason::kStop, sink->finish());
}

TEST(Engine, EndsAtTheContextsEdgeWithLength) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>();
  ASSERT_TRUE(engine->submit(request(100'000), sink));
  sink->wait_done();
  EXPECT_EQ(256U - 5U, sink->ids().size());
  EXPECT_EQ(FinishReason::kLength, sink->finish());
}

TEST(Engine, OnlyComputesThePromptWhenNoTokensAreAsked) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>();
  ASSERT_TRUE(engine->submit(request(0), sink));
  sink->wait_done();
  EXPECT_TRUE(sink->ids().empty());
  EXPECT_EQ(FinishReason::kLength, sink->finish());
  EXPECT_EQ(5U, engine->status().n_prompt_tok);
}

TEST(Engine, RefusesWhatCannotBeAnswered) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>();
  EXPECT_EQ(Code::kInvalidArgument, engine->submit({}, sink).error().code);
  GenerateRequest foreign = request(1);
  foreign.prompt.push_back(1'000'000);
  EXPECT_EQ(Code::kInvalidArgument, engine->submit(foreign, sink).error().code);
  GenerateRequest longer = request(1);
  longer.prompt.assign(256, 5);
  const auto refused = engine->submit(longer, sink);
  EXPECT_EQ(Code::kOutOfRange, refused.error().code);
  EXPECT_NE(std::string::npos, refused.error().message.find("256 tokens"))
      << refused.error().message;
  GenerateRequest hot = request(1, -1.0F);
  EXPECT_EQ(Code::kInvalidArgument, engine->submit(hot, sink).error().code);
}

TEST(Engine, RefusesMoreThanItsQueueHolds) {
  auto engine = open_tiny(1, 2);
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 3; ++i) {
    sinks.push_back(std::make_shared<Collector>(kPace));
    ASSERT_TRUE(engine->submit(request(250), sinks.back()));
  }
  EXPECT_EQ(Code::kResourceExhausted,
            engine->submit(request(1), std::make_shared<Collector>()).error().code);
  for (auto& sink : sinks) sink->wait_done();
  EXPECT_EQ(1U, answer(*engine, request(1)).size());
}

TEST(Engine, FreesACancelledGenerationsBlocks) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>(kPace);
  const auto id = engine->submit(request(250), sink);
  ASSERT_TRUE(id);
  sink->wait_tokens(2);
  engine->cancel(*id);
  engine->cancel(*id);
  engine->cancel(123456);
  for (int i = 0; i < 1000 && engine->status().n_kv_blocks_used > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(0U, engine->status().n_kv_blocks_used);
  EXPECT_FALSE(sink->is_done());
  EXPECT_EQ(Code::kNotFound, engine->force(*id, {1}).error().code);
}

TEST(Engine, TakesForcedTokensAsIfTheModelHadChosenThem) {
  auto engine = open_tiny();
  auto sink = std::make_shared<Collector>(kPace);
  const auto id = engine->submit(request(200), sink);
  ASSERT_TRUE(id);
  sink->wait_tokens(3);
  ASSERT_TRUE(engine->force(*id, {11, 12, 13}));
  sink->wait_done();
  const auto ids = sink->ids();
  ASSERT_EQ(200U, ids.size());
  const std::vector<TokenId> forced{11, 12, 13};
  const auto at = std::search(ids.begin(), ids.end(), forced.begin(), forced.end());
  ASSERT_NE(ids.end(), at);
  // The same history without forcing goes on the same way.
  GenerateRequest resumed = request(200);
  resumed.generated.assign(ids.begin(), at + 3);
  auto other = std::make_shared<Collector>();
  other->expect_from(static_cast<std::uint32_t>(resumed.generated.size()));
  ASSERT_TRUE(engine->submit(resumed, other));
  other->wait_done();
  EXPECT_TRUE(std::equal(at + 3, ids.end(), other->ids().begin() + (at + 3 - ids.begin())));
}

TEST(Engine, HandsAReattachingReaderWhatItMissed) {
  auto engine = open_tiny();
  const auto expected = answer(*engine, request(200));
  auto lost = std::make_shared<Collector>(kPace);
  const auto id = engine->submit(request(200), lost);
  ASSERT_TRUE(id);
  lost->wait_tokens(5);
  auto back = std::make_shared<Collector>();
  back->expect_from(2);
  ASSERT_TRUE(engine->attach(*id, 2, back));
  back->wait_done();
  const auto got = back->ids();
  EXPECT_TRUE(std::equal(expected.begin() + 2, expected.end(), got.begin() + 2, got.end()));
  EXPECT_FALSE(lost->is_done());
}

TEST(Engine, TellsEveryReaderWhenItShutsDown) {
  auto engine = open_tiny(1, 8);
  std::vector<std::shared_ptr<Collector>> sinks;
  for (int i = 0; i < 5; ++i) {
    sinks.push_back(std::make_shared<Collector>(kPace));
    ASSERT_TRUE(engine->submit(request(250), sinks.back()));
  }
  engine.reset();
  for (auto& sink : sinks) {
    ASSERT_TRUE(sink->is_done());
    if (sink->error()) {
      EXPECT_EQ(Code::kUnavailable, sink->error()->code);
    }
  }
  EXPECT_TRUE(sinks.back()->error().has_value());
}

TEST(Engine, DescribesItsModel) {
  auto engine = open_tiny();
  const ModelDescription& d = engine->describe();
  EXPECT_EQ("llama", d.architecture);
  EXPECT_EQ(288U, d.n_vocab);
  EXPECT_EQ(256U, d.n_ctx_tok);
  EXPECT_EQ(0U, d.fingerprint.find("dw1-cpu-"));
  EXPECT_FALSE(d.chat_template.empty());
}

}  // namespace
}  // namespace deepwell::engine
