// The sampler against a slow, obvious one that sorts everything; its distribution; its corners.
#include "engine/sampling/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/numerics/functions.hpp"
#include "engine/sampling/philox.hpp"
#include "engine/sampling/weights.hpp"

namespace deepwell::engine {
namespace {

using Wide = unsigned __int128;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The definition, spelled out: no tricks, everything sorted.
TokenId sample_slowly(const SamplerInput& in) {
  const SamplingParams& params = in.params;
  std::vector<float> logits(in.logits.begin(), in.logits.end());
  for (const auto& [id, bias] : params.logit_bias) {
    logits[static_cast<std::size_t>(id)] += bias;
  }
  for (const TokenCount& count : in.generated.counts()) {
    float& logit = logits[static_cast<std::size_t>(count.id)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count.n) + params.presence_penalty;
  }
  for (std::size_t i = 0; i < logits.size() && !in.allowed.empty(); ++i) {
    if ((in.allowed[i / 64] >> (i % 64) & 1U) == 0) {
      logits[i] = -kInfinity;
    }
  }
  const auto max = std::max_element(logits.begin(), logits.end());
  if (params.temperature == 0) {
    return static_cast<TokenId>(max - logits.begin());
  }
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float e = exp_f32((logits[i] - *max) / params.temperature);
    all.push_back({static_cast<std::uint64_t>(std::llrint(std::ldexp(static_cast<double>(e), 40))),
                   static_cast<TokenId>(i)});
  }
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
  if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < all.size()) {
    all.resize(static_cast<std::size_t>(params.top_k));
  }
  Wide total = 0;
  for (const Candidate& candidate : all) {
    total += candidate.weight;
  }
  if (params.top_p < 1) {
    const auto fraction = static_cast<Wide>(std::ldexp(static_cast<double>(params.top_p), 40));
    Wide sum = 0;
    std::size_t n = 0;
    while (n == 0 || (sum << 40) < fraction * total) {
      sum += all[n++].weight;
    }
    all.resize(n);
  }
  const double least = static_cast<double>(params.min_p) * static_cast<double>(all[0].weight);
  std::erase_if(all, [least](const Candidate& c) { return static_cast<double>(c.weight) < least; });
  std::sort(all.begin(), all.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  total = 0;
  for (const Candidate& candidate : all) {
    total += candidate.weight;
  }
  const Wide at =
      (Wide{random_bits(params.seed, in.choice, in.position, RandomPurpose::kDraw)} * total) >> 64;
  Wide sum = 0;
  for (const Candidate& candidate : all) {
    sum += candidate.weight;
    if (at < sum) {
      return candidate.id;
    }
  }
  return -1;
}

/// Logits of many shapes: smooth, with ties, all equal, one far above, huge and hugely negative.
std::vector<float> random_logits(std::mt19937& random, std::size_t n_vocab) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(n_vocab);
  std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
  switch (random() % 6) {
    case 0:
      break;
    case 1:
      for (float& x : logits) x = std::nearbyint(x);
      break;
    case 2:
      std::fill(logits.begin(), logits.end(), 1.25F);
      break;
    case 3:
      logits[random() % n_vocab] = 40;
      break;
    case 4:
      for (float& x : logits) x = random() % 3 != 0 ? -1e30F : x;
      break;
    default:
      for (float& x : logits) x *= 1e36F;
      break;
  }
  return logits;
}

SamplingParams random_params(std::mt19937& random, std::size_t n_vocab) {
  const auto one_of = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  SamplingParams params;
  params.temperature = one_of({0, 0.1F, 0.6F, 0.8F, 1, 1.5F, 100});
  params.top_k = static_cast<std::int32_t>(one_of({0, 0, 1, 2, 40, 1e6F}));
  params.top_p = one_of({0, 0.1F, 0.5F, 0.9F, 0.95F, 1, 1});
  params.min_p = one_of({0, 0, 0.05F, 0.5F, 1});
  params.repetition_penalty = one_of({1, 1, 1.1F, 0.9F});
  params.frequency_penalty = one_of({0, 0, 0.5F, -1});
  params.presence_penalty = one_of({0, 0, 0.7F});
  params.seed = random();
  for (std::size_t i = 0; i < random() % 3; ++i) {
    params.logit_bias.emplace_back(static_cast<TokenId>(random() % n_vocab),
                                   one_of({-100, -1, 2, 100}));
  }
  return params;
}

TEST(Sampler, ChoosesWhatSortingEverythingChooses) {
  std::mt19937 random(99);
  SamplerScratch scratch;
  int n_different = 0;
  for (int round = 0; round < 6000; ++round) {
    const std::size_t n_vocab = 1 + random() % (round % 20 == 0 ? 5000 : 300);
    const std::vector<float> logits = random_logits(random, n_vocab);
    const SamplingParams params = random_params(random, n_vocab);
    TokenCounts generated;
    for (std::size_t i = 0; i < random() % 30; ++i) {
      generated.add(static_cast<TokenId>(random() % n_vocab));
    }
    std::vector<std::uint64_t> allowed;
    if (random() % 3 == 0) {
      allowed.resize((n_vocab + 63) / 64);
      std::generate(allowed.begin(), allowed.end(),
                    [&] { return (std::uint64_t{random()} << 32) | random(); });
      allowed[0] |= 1;  // at least one token
    }
    const SamplerInput input{.logits = logits,
                             .params = params,
                             .generated = generated,
                             .allowed = allowed,
                             .position = random(),
                             .choice = static_cast<std::uint32_t>(random() % 3)};
    const auto got = sample_token(input, scratch);
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(*got, sample_slowly(input)) << "round " << round;
    n_different += *got != static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) -
                                                logits.begin());
  }
  EXPECT_GT(n_different, 1000);  // not everything is the likeliest token
}

/// How often each token is drawn at positions 0 .. n - 1.
std::vector<int> histogram(const std::vector<float>& logits, const SamplingParams& params, int n) {
  SamplerScratch scratch;
  const TokenCounts none;
  std::vector<int> counts(logits.size());
  for (int i = 0; i < n; ++i) {
    const auto token = sample_token({.logits = logits,
                                     .params = params,
                                     .generated = none,
                                     .position = static_cast<std::uint64_t>(i)},
                                    scratch);
    ++counts[static_cast<std::size_t>(*token)];
  }
  return counts;
}

TEST(Sampler, DrawsInProportionToTheWeights) {
  std::vector<float> logits;
  for (int i = 0; i < 20; ++i) {
    logits.push_back(static_cast<float>(i % 7) * 0.4F);
  }
  SamplingParams params;
  params.temperature = 0.7F;
  params.seed = 42;
  constexpr int kDraws = 200000;
  const std::vector<int> counts = histogram(logits, params, kDraws);
  double total = 0;
  for (const float logit : logits) {
    total += std::exp(static_cast<double>(logit) / 0.7);
  }
  double chi_square = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = kDraws * std::exp(static_cast<double>(logits[i]) / 0.7) / total;
    chi_square += std::pow(counts[i] - expected, 2) / expected;
  }
  EXPECT_LT(chi_square, 43.8);  // 19 degrees of freedom, p = 0.001
  EXPECT_GT(chi_square, 5.4);   // p = 0.999: not too good to be random either
}

TEST(Sampler, KeepsTheSmallestPrefixThatReachesTopP) {
  // Weights 1, 1/2, 1/4, 1/4: shares 0.5, 0.25, 0.125, 0.125, exact up to the rounding of log 2.
  const float log2 = 0.693147180559945F;
  const std::vector<float> logits = {-2 * log2, 0, -2 * log2, -log2};
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.49F;
  EXPECT_EQ(histogram(logits, params, 500), (std::vector<int>{0, 500, 0, 0}));
  params.top_p = 0.51F;
  const std::vector<int> two = histogram(logits, params, 500);
  EXPECT_EQ(two[0] + two[2], 0);
  EXPECT_GT(two[3], 100);
  params.top_p = 0.80F;  // of the two equals, the lower id
  const std::vector<int> three = histogram(logits, params, 500);
  EXPECT_GT(three[0], 20);
  EXPECT_EQ(three[2], 0);
  params.top_p = 0;
  EXPECT_EQ(histogram(logits, params, 50), (std::vector<int>{0, 50, 0, 0}));
}

TEST(Sampler, IsGreedyAtTemperatureZeroWithTiesToTheLowestId) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(histogram({1, 3, 2, 3, 3}, params, 10), (std::vector<int>{0, 10, 0, 0, 0}));
  params.logit_bias = {{1, -0.5F}};
  EXPECT_EQ(histogram({1, 3, 2, 3, 3}, params, 10), (std::vector<int>{0, 0, 0, 10, 0}));
}

TEST(Sampler, PenalisesGeneratedTokens) {
  SamplerScratch scratch;
  TokenCounts generated;
  for (const TokenId id : {2, 0, 2, 2}) {
    generated.add(id);
  }
  const auto greedy = [&](std::vector<float> logits, float repetition, float frequency,
                          float presence) {
    SamplingParams params;
    params.temperature = 0;
    params.repetition_penalty = repetition;
    params.frequency_penalty = frequency;
    params.presence_penalty = presence;
    return *sample_token({.logits = logits, .params = params, .generated = generated}, scratch);
  };
  EXPECT_EQ(greedy({1, 0, 5}, 1, 0, 0), 2);
  EXPECT_EQ(greedy({1, 2.6F, 5}, 2, 0, 0), 1);  // 5 / 2 < 2.6
  EXPECT_EQ(greedy({-3, 0.5F, 0.8F}, 2, 0, 0), 1);
  EXPECT_EQ(greedy({-3, -1.9F, -1}, 2, 0, 0), 1);  // -1 * 2 < -1.9
  EXPECT_EQ(greedy({1, 3.6F, 5}, 1, 0.5F, 0), 1);  // 5 - 3 * 0.5 < 3.6
  EXPECT_EQ(greedy({1, 3.4F, 5}, 1, 0.5F, 0), 2);
  EXPECT_EQ(greedy({1, 4.5F, 5}, 1, 0, 1), 1);  // 5 - 1 < 4.5, however often
}

TEST(Sampler, NeverLeavesTheGrammar) {
  SamplerScratch scratch;
  const std::vector<float> logits(100, 0.0F);
  SamplingParams params;
  params.logit_bias = {{5, 100}};
  const TokenCounts none;
  std::vector<std::uint64_t> allowed = {0, 1U << 3};
  SamplerInput input{.logits = logits, .params = params, .generated = none, .allowed = allowed};
  for (input.position = 0; input.position < 50; ++input.position) {
    EXPECT_EQ(*sample_token(input, scratch), 67);
  }
  allowed[1] = 0;
  const auto refused = sample_token(input, scratch);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
}

TEST(Sampler, RefusesLogitsThatAreNotFinite) {
  SamplerScratch scratch;
  const TokenCounts none;
  const SamplingParams params;
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> logits(40, 0.0F);
    logits[33] = bad;
    const auto refused =
        sample_token({.logits = logits, .params = params, .generated = none}, scratch);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInternal);
    EXPECT_NE(refused.error().message.find("token 33"), std::string::npos)
        << refused.error().message;
    EXPECT_FALSE(top_logprobs(logits, 0, 3, scratch));
  }
}

TEST(Sampler, RefusesPenaltiesThatOverflow) {
  SamplerScratch scratch;
  const std::vector<float> logits = {1, 3e38F, 2};
  SamplingParams params;
  params.repetition_penalty = 0.01F;
  TokenCounts generated;
  generated.add(1);
  const auto refused =
      sample_token({.logits = logits, .params = params, .generated = generated}, scratch);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("penalty"), std::string::npos);
}

TEST(Weights, FollowTheFormulaBitForBit) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-40, 0);
  std::vector<float> logits(1003);
  std::generate(logits.begin(), logits.end(), [&] { return uniform(random); });
  logits[0] = -kInfinity;
  logits[1] = -3e38F;
  logits[2] = 0;
  std::vector<std::uint64_t> weights(logits.size());
  for (const float temperature : {0.01F, 0.7F, 1.0F, 30.0F}) {
    to_weights(logits, 0.0F, temperature, weights);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double want = std::ldexp(static_cast<double>(exp_f32(logits[i] / temperature)), 40);
      ASSERT_EQ(weights[i], static_cast<std::uint64_t>(std::llrint(want))) << logits[i];
    }
    EXPECT_EQ(weights[0], 0U);
    EXPECT_EQ(weights[2], kMaxWeight);
  }
}

TEST(TopLogprobs, MatchLogSoftmax) {
  std::mt19937 random(17);
  SamplerScratch scratch;
  for (int round = 0; round < 50; ++round) {
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> logits(1 + random() % 2000);
    std::generate(logits.begin(), logits.end(),
                  [&] { return std::nearbyint(normal(random) * 8) / 8; });
    long double sum = 0;
    for (const float logit : logits) {
      sum += std::exp(static_cast<long double>(logit));
    }
    const auto chosen = static_cast<TokenId>(random() % logits.size());
    const auto got = top_logprobs(logits, chosen, 20, scratch);
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(got->size(), 1 + std::min<std::size_t>(20, logits.size()));
    EXPECT_EQ(got->front().id, chosen);
    for (const TokenLogprob& token : *got) {
      const long double want = logits[static_cast<std::size_t>(token.id)] - std::log(sum);
      EXPECT_NEAR(token.logprob, static_cast<double>(want), 5e-7);
    }
    std::vector<TokenId> order(logits.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = static_cast<TokenId>(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
      return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    for (std::size_t i = 1; i < got->size(); ++i) {
      EXPECT_EQ((*got)[i].id, order[i - 1]);
    }
  }
}

TEST(SamplingParams, AreRefusedWithTheNameAndTheValue) {
  const auto refusal = [](auto change) {
    SamplingParams params;
    change(params);
    const Status status = validate(params, 100);
    return status ? std::string("accepted") : status.error().field + ": " + status.error().message;
  };
  EXPECT_EQ(refusal([](SamplingParams&) {}), "accepted");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.temperature = -1; }),
            "temperature: temperature is -1; it must be between 0 and 100");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.temperature = std::nanf(""); }),
            "temperature: temperature is nan; it must be between 0 and 100");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.top_k = -1; }),
            "top_k: top_k is -1; it must be positive, or 0 to turn it off");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.top_p = 1.5F; }),
            "top_p: top_p is 1.5; it must be between 0 and 1");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.min_p = -0.5F; }),
            "min_p: min_p is -0.5; it must be between 0 and 1");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.repetition_penalty = 0; }),
            "repetition_penalty: repetition_penalty is 0; it must be between 0.01 and 100");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.frequency_penalty = 3; }),
            "frequency_penalty: frequency_penalty is 3; it must be between -2 and 2");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.presence_penalty = kInfinity; }),
            "presence_penalty: presence_penalty is inf; it must be between -2 and 2");
  EXPECT_EQ(refusal([](SamplingParams& p) {
              p.logit_bias = {{100, 1.0F}};
            }),
            "logit_bias: logit_bias names token 100; the vocabulary has ids 0 to 99");
  EXPECT_EQ(refusal([](SamplingParams& p) {
              p.logit_bias = {{-1, 1.0F}};
            }),
            "logit_bias: logit_bias names token -1; the vocabulary has ids 0 to 99");
  EXPECT_EQ(refusal([](SamplingParams& p) {
              p.logit_bias = {{5, -200.0F}};
            }),
            "logit_bias: logit_bias is -200; it must be between -100 and 100");
}

/// Stored answers are replayed by sampling again: a change of this hash needs a new kNumericsVersion.
TEST(Sampler, GivesTheTokensThatItAlwaysGave) {
  SamplerScratch scratch;
  TokenCounts generated;
  SamplingParams params;
  params.temperature = 0.7F;
  params.top_k = 200;
  params.top_p = 0.95F;
  params.min_p = 0.001F;
  params.repetition_penalty = 1.1F;
  params.seed = 0x123456789ABCDEFU;
  std::vector<float> logits(1000);
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (std::uint64_t position = 0; position < 500; ++position) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const std::uint64_t noise = random_bits(i, 0, position, static_cast<RandomPurpose>(99));
      logits[i] = static_cast<float>(noise % 4096) / 400.0F;
    }
    const SamplerInput input{.logits = logits,
                             .params = params,
                             .generated = generated,
                             .position = position,
                             .choice = 1};
    const auto token = sample_token(input, scratch);
    ASSERT_TRUE(token) << token.error().message;
    generated.add(*token);
    hash = (hash ^ static_cast<std::uint64_t>(*token)) * 0x100000001b3U;
  }
  EXPECT_EQ(hash, 6839107842815835330U);
}

/// Not a benchmark: the time of one choice is recorded, and only a disaster (a sort of the vocabulary, say, or a
/// quadratic selection) fails.
TEST(Sampler, TakesAWholeVocabularyInItsStride) {
  std::mt19937 random(3);
  SamplerScratch scratch;
  const TokenCounts none;
  std::vector<float> smooth(151936);
  std::normal_distribution<float> normal(0, 3);
  std::generate(smooth.begin(), smooth.end(), [&] { return normal(random); });
  const std::vector<float> equal(151936, 1.0F);
  for (const bool is_smooth : {true, false}) {
    const std::vector<float>& logits = is_smooth ? smooth : equal;
    for (const float top_p : {1.0F, 0.95F}) {
      for (const std::int32_t top_k : {0, 40}) {
        SamplingParams params;
        params.top_p = top_p;
        params.top_k = top_k;
        params.min_p = top_p < 1 ? 0.05F : 0;
        double best_ms = 1e9;
        for (std::uint64_t i = 0; i < 5; ++i) {
          const auto start = std::chrono::steady_clock::now();
          ASSERT_TRUE(sample_token(
              {.logits = logits, .params = params, .generated = none, .position = i}, scratch));
          const std::chrono::duration<double, std::milli> took =
              std::chrono::steady_clock::now() - start;
          best_ms = std::min(best_ms, took.count());
        }
        RecordProperty(std::string(is_smooth ? "smooth" : "equal") + (top_p < 1 ? "_top_p" : "") +
                           (top_k > 0 ? "_top_k" : "") + "_us",
                       std::to_string(static_cast<int>(best_ms * 1000)));
        EXPECT_LT(best_ms, 200);
      }
    }
  }
}

}  // namespace
}  // namespace deepwell::engine
