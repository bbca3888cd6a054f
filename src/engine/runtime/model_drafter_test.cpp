// Guessing with a second model: what it guesses, how it follows, and what it leaves alone.
#include "engine/runtime/model_drafter.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

const std::string kTiny = (kTinyGoldens / "llama-tied-gqa2-d16-f16.gguf").string();
constexpr std::uint32_t kTinyVocab = 288;

LoadOptions tiny_options() {
  return {.path = kTiny, .n_threads = 2, .n_ctx_tok = 256, .n_sequences = 4, .n_max_rows = 32};
}

/// The model's own greedy answer of n tokens.
std::vector<TokenId> greedy(const std::vector<TokenId>& prompt, std::uint32_t n) {
  auto engine =
      Engine::open({.load = tiny_options(), .name = "tiny", .n_max_draft_tok = 0}, null_log());
  if (!engine) return {};
  return run_to_end(**engine, {.prompt = prompt,
                               .sampling = {.temperature = 0.0F},
                               .max_tokens = n,
                               .ignore_end = true})
      ->ids();
}

std::vector<TokenId> prompt_of(std::uint32_t n, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::vector<TokenId> prompt(n);
  for (TokenId& token : prompt) token = static_cast<TokenId>(random() % 250);
  return prompt;
}

std::unique_ptr<Sequence> sequence(GenerationId id, std::vector<TokenId> tokens) {
  auto made = std::make_unique<Sequence>();
  made->id = id;
  made->tokens = std::move(tokens);
  made->n_prompt = made->n_tokens();
  made->request.max_tokens = 200;
  made->request.sampling.temperature = 0.0F;
  return made;
}

struct World {
  explicit World(LoadOptions options = tiny_options(),
                 ModelDrafterOptions drafting = {kTinyVocab, false})
      : drafter(load_or_die(options), drafting) {}

  Sequence& add(std::vector<TokenId> tokens) {
    running.push_back(sequence(running.size() + 1, std::move(tokens)));
    return *running.back();
  }
  /// A step's plan for all that run.
  void plan(std::uint32_t n_most) {
    drafter.keep_only(running);
    wishes.clear();
    StepWork alone;
    for (const auto& s : running) {
      s->draft.clear();
      alone = alone.plus(1, s->n_tokens());
      wishes.push_back({.sequence = s.get(), .n_most = n_most});
    }
    drafter.plan(wishes, alone, static_cast<std::uint32_t>(running.size()), times);
  }
  /// Steps until somebody has guesses; how many it took.
  int guess(std::uint32_t n_most, int n_steps = 20) {
    for (int step = 1; step <= n_steps; ++step) {
      plan(n_most);
      EXPECT_TRUE(drafter.guess(wishes, nullptr));
      for (const auto& s : running) {
        if (!s->draft.empty()) return step;
      }
    }
    return 0;
  }

  ModelDrafter drafter;
  StepTimes times;
  std::vector<std::unique_ptr<Sequence>> running;
  std::vector<GuessWish> wishes;
};

std::vector<TokenId> part(const std::vector<TokenId>& all, std::size_t begin, std::size_t n) {
  const auto from = all.begin() + static_cast<std::ptrdiff_t>(begin);
  return {from, from + static_cast<std::ptrdiff_t>(n)};
}

TEST(ModelDrafter, GuessesWhatItsModelWouldSay) {
  const auto prompt = prompt_of(20);
  const auto answer = greedy(prompt, 40);
  World world;
  Sequence& s = world.add(prompt);
  // All right, some right, none right, more known at once than was guessed.
  std::size_t n_known = 0;
  for (const std::size_t n_more : {5U, 5U, 3U, 1U, 1U, 5U, 9U}) {
    ASSERT_EQ(1, world.guess(4)) << n_known;
    EXPECT_EQ(part(answer, n_known, 4), s.draft) << n_known;
    for (std::size_t i = 0; i < n_more; ++i) s.tokens.push_back(answer[n_known++]);
  }
}

TEST(ModelDrafter, DrawsAsItsModelWillDraw) {
  auto engine =
      Engine::open({.load = tiny_options(), .name = "tiny", .n_max_draft_tok = 0}, null_log());
  ASSERT_TRUE(engine);
  const GenerateRequest request{.prompt = prompt_of(20),
                                .sampling = {.temperature = 1.0F, .top_p = 0.95F, .seed = 42},
                                .max_tokens = 40,
                                .ignore_end = true};
  const auto answer = run_to_end(**engine, request)->ids();
  World world;
  Sequence& s = world.add(request.prompt);
  s.request.sampling = request.sampling;
  for (std::size_t n_known = 0; n_known + 6 < answer.size(); n_known += 6) {
    ASSERT_EQ(1, world.guess(5));
    EXPECT_EQ(part(answer, n_known, 5), s.draft) << n_known;
    s.tokens.insert(s.tokens.end(), answer.begin() + static_cast<std::ptrdiff_t>(n_known),
                    answer.begin() + static_cast<std::ptrdiff_t>(n_known + 6));
  }
}

TEST(ModelDrafter, GoesBackBehindWrongGuesses) {
  auto prompt = prompt_of(20);
  World world;
  Sequence& s = world.add(prompt);
  for (int round = 0; round < 6; ++round) {
    ASSERT_EQ(1, world.guess(5));
    // One or two guesses were right, then came something else.
    for (int i = 0; i <= round % 2; ++i) prompt.push_back(s.draft[static_cast<std::size_t>(i)]);
    prompt.push_back((s.draft[static_cast<std::size_t>(1 + round % 2)] + 7) % 250);
    s.tokens = prompt;
  }
  ASSERT_EQ(1, world.guess(5));
  EXPECT_EQ(greedy(prompt, 5), s.draft);
}

TEST(ModelDrafter, GuessesForAllAtOnce) {
  World world;
  std::vector<std::vector<TokenId>> expected;
  for (std::uint32_t i = 0; i < 4; ++i) {
    expected.push_back(greedy(prompt_of(5 + i, i), 2 + i));
    world.add(prompt_of(5 + i, i));
  }
  world.drafter.keep_only(world.running);
  StepWork alone;
  for (std::uint32_t i = 0; i < 4; ++i)
    world.wishes.push_back({.sequence = world.running[i].get(), .n_most = 2 + i});
  world.drafter.plan(world.wishes, alone.plus(4, 8), 4, world.times);
  ASSERT_TRUE(world.drafter.guess(world.wishes, nullptr));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(expected[i], world.running[i]->draft) << i;
}

TEST(ModelDrafter, CatchesUpWithAPromptInChunks) {
  const auto prompt = prompt_of(150);
  World world;
  Sequence& s = world.add(prompt);
  EXPECT_GE(world.guess(4), 150 / 32);
  EXPECT_EQ(greedy(prompt, 4), s.draft);
}

TEST(ModelDrafter, FindsABeginningThatItKnows) {
  const auto prompt = prompt_of(100);
  World world;
  world.add(prompt);
  world.guess(4);
  Sequence& other = world.add(prompt);
  other.tokens.push_back(9);
  EXPECT_EQ(1, world.guess(4));
  EXPECT_EQ(greedy(other.tokens, 4), other.draft);
  // After all have gone too, but not for another tenant.
  world.running.clear();
  world.drafter.keep_only(world.running);
  EXPECT_EQ(0U, world.drafter.n_blocks_used());
  world.add(prompt).request.tenant = "other";
  EXPECT_GT(world.guess(4), 1);
  world.running.clear();
  world.drafter.keep_only(world.running);
  world.add(prompt);
  EXPECT_EQ(1, world.guess(4));
}

TEST(ModelDrafter, GuessesForThoseThatFindBlocks) {
  LoadOptions options = tiny_options();
  options.n_ctx_tok = 64;
  options.n_sequences = 1;  // four blocks
  World world(options);
  Sequence& first = world.add(prompt_of(40, 1));
  Sequence& second = world.add(prompt_of(41, 2));
  world.guess(4);
  EXPECT_EQ(greedy(first.tokens, 4), first.draft);
  EXPECT_TRUE(second.draft.empty());
  world.running.erase(world.running.begin());
  world.guess(4);
  EXPECT_EQ(greedy(second.tokens, 4), second.draft);
}

TEST(ModelDrafter, GuessesNothingBeyondItsContext) {
  LoadOptions options = tiny_options();
  options.n_ctx_tok = 64;
  World world(options);
  Sequence& s = world.add(prompt_of(60));
  EXPECT_EQ(0, world.guess(5));
  EXPECT_EQ(1, world.guess(4) > 0 ? 1 : 0);
  EXPECT_EQ(4U, s.draft.size());
}

TEST(ModelDrafter, LeavesAloneWhatHasTokensThatItLacks) {
  World world;
  auto tokens = prompt_of(20);
  tokens[7] = kTinyVocab + 5;
  world.add(tokens);
  EXPECT_EQ(0, world.guess(4));
  world.add(prompt_of(20)).request.sampling = {
      .temperature = 1.0F, .logit_bias = {{static_cast<TokenId>(kTinyVocab + 5), 1.0F}}};
  EXPECT_EQ(0, world.guess(4));
}

TEST(ModelDrafter, GuessesNoTokenThatTheModelLacks) {
  const auto prompt = prompt_of(20);
  const auto answer = greedy(prompt, 8);
  const TokenId highest = *std::max_element(answer.begin(), answer.end());
  World world(tiny_options(), {static_cast<std::uint32_t>(highest), false});
  Sequence& s = world.add(prompt);
  world.guess(8);
  const auto end = std::find(answer.begin(), answer.end(), highest);
  EXPECT_EQ(std::vector<TokenId>(answer.begin(), end), s.draft);
}

TEST(ModelDrafter, GivesUpAStepThatNobodyWantsAndGoesOnAfterIt) {
  const auto prompt = prompt_of(20);
  const auto answer = greedy(prompt, 12);
  World world;
  Sequence& s = world.add(prompt);
  const std::atomic<bool> is_unwanted{true};
  world.plan(4);
  EXPECT_FALSE(world.drafter.guess(world.wishes, &is_unwanted));
  EXPECT_TRUE(s.draft.empty());
  ASSERT_EQ(1, world.guess(4));
  EXPECT_EQ(part(answer, 0, 4), s.draft);
  // And in the middle of an answer, twice.
  s.tokens.insert(s.tokens.end(), answer.begin(), answer.begin() + 3);
  for (int i = 0; i < 2; ++i) {
    world.plan(4);
    EXPECT_FALSE(world.drafter.guess(world.wishes, &is_unwanted));
  }
  ASSERT_EQ(1, world.guess(4));
  EXPECT_EQ(part(answer, 3, 4), s.draft);
}

TEST(ModelDrafter, StopsForASequenceWhoseGuessesAreWrong) {
  World world(tiny_options(), {.n_vocab = kTinyVocab, .is_adaptive = true});
  Sequence& s = world.add(prompt_of(20));
  // A model whose steps take an hour, so that whatever is likely enough pays.
  for (int i = 0; i < 8; ++i) world.times.note({.n_rows = 1, .n_keys = 30}, 3600.0);
  int n_guessed = 0;
  for (int step = 0; step < 60; ++step) {
    world.guess(4, 1);
    n_guessed += s.draft.empty() ? 0 : 1;
    world.drafter.note(s, static_cast<std::uint32_t>(s.draft.size()), 0);
    s.tokens.push_back(static_cast<TokenId>(step * 37 % 250));
  }
  EXPECT_GT(n_guessed, 0);
  EXPECT_LT(n_guessed, 40);
}

TEST(LikeliestToken, IsTheLowestOfTheHighest) {
  std::vector<float> logits(100, -1.0F);
  logits[40] = logits[70] = 3.0F;
  EXPECT_EQ(40, likeliest_token(logits).id);
  logits[99] = 3.5F;
  EXPECT_EQ(99, likeliest_token(logits).id);
  EXPECT_EQ(0, likeliest_token(std::vector<float>(7, 0.0F)).id);
  EXPECT_EQ(0, likeliest_token({}).id);
  EXPECT_EQ(0, likeliest_token(std::vector<float>(40, std::nanf(""))).id);
}

TEST(LikeliestToken, KnowsAboutHowLikelyItIs) {
  std::mt19937 random(1);
  std::normal_distribution<float> spread(0.0F, 4.0F);
  for (int round = 0; round < 20; ++round) {
    std::vector<float> logits(1000);
    for (float& logit : logits) logit = spread(random);
    const float highest = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit - highest));
    EXPECT_NEAR(1.0, likeliest_token(logits).probability * sum, 0.05);
  }
}

}  // namespace
}  // namespace deepwell::engine
