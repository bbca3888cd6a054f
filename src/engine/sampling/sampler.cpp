// The one list of what happens to logits on their way to a token.
#include "engine/sampling/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "engine/numerics/functions.hpp"
#include "engine/sampling/nucleus.hpp"
#include "engine/sampling/philox.hpp"
#include "engine/sampling/weights.hpp"

namespace deepwell::engine {
namespace {

using Wide = unsigned __int128;

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

Status copy_finite(std::span<const float> logits, std::vector<float>& out) {
  DW_CHECK(!logits.empty() && logits.size() <= kMaxVocab, "a vocabulary of 1 to kMaxVocab tokens");
  if (const auto bad = find_non_finite(logits)) {
    return internal_error(concat("the model computed the logit ", logits[*bad], " for token ", *bad,
                                 "; the model file may be damaged"));
  }
  out.assign(logits.begin(), logits.end());
  return {};
}

void add_bias(std::span<float> logits, const SamplingParams& params) {
  for (const auto& [id, bias] : params.logit_bias) {
    logits[static_cast<std::size_t>(id)] += bias;
  }
}

void apply_penalties(std::span<float> logits, const SamplingParams& params,
                     const TokenCounts& generated) {
  if (params.repetition_penalty == 1.0F && params.frequency_penalty == 0.0F &&
      params.presence_penalty == 0.0F) {
    return;
  }
  const std::span<const TokenCount> counts = generated.counts();
  DW_CHECK(counts.empty() || (counts.front().id >= 0 &&
                              static_cast<std::size_t>(counts.back().id) < logits.size()),
           "generated ids lie inside the vocabulary");
  for (const TokenCount& count : counts) {
    float& logit = logits[static_cast<std::size_t>(count.id)];
    logit = logit > 0.0F ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count.n) + params.presence_penalty;
  }
}

void forbid_all_but(std::span<const std::uint64_t> allowed, std::span<float> logits) {
  if (allowed.empty()) {
    return;
  }
  DW_CHECK(allowed.size() * 64 >= logits.size(), "one bit for every token");
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (((allowed[i / 64] >> (i % 64)) & 1U) == 0) {
      logits[i] = kForbidden;
    }
  }
}

/// The lowest id of the highest logit.
TokenId first_with(std::span<const float> logits, float max) {
  return static_cast<TokenId>(std::find(logits.begin(), logits.end(), max) - logits.begin());
}

Prefix keep_top_k(std::span<const std::uint64_t> weights, const Prefix& kept, std::int32_t top_k,
                  std::vector<Candidate>& scratch) {
  if (top_k == 0 || static_cast<std::size_t>(top_k) >= weights.size()) {
    return kept;
  }
  return shortest_prefix(weights, kept, {.n = static_cast<std::uint64_t>(top_k)}, scratch);
}

/// The nucleus: the shortest prefix whose weight is at least top_p of what is left, exactly in integers. At least
/// one token.
Prefix keep_top_p(std::span<const std::uint64_t> weights, const Prefix& kept, float top_p,
                  std::vector<Candidate>& scratch) {
  if (top_p >= 1.0F) {
    return kept;
  }
  constexpr unsigned kFractionBits = 40;
  const auto fraction = static_cast<Wide>(static_cast<double>(top_p) * 0x1p+40);
  const Wide product = fraction * mass_of(weights, kept).weight;
  const Wide rounded_up = (product + ((Wide{1} << kFractionBits) - 1)) >> kFractionBits;
  return shortest_prefix(weights, kept, {.n = 1, .weight = static_cast<std::uint64_t>(rounded_up)},
                         scratch);
}

/// Weights of at least min_p times the highest weight, which is kMaxWeight by construction.
Prefix keep_min_p(const Prefix& kept, float min_p) {
  const auto least = static_cast<std::uint64_t>(
      std::ceil(static_cast<double>(min_p) * static_cast<double>(kMaxWeight)));
  return least > kept.last_weight ? Prefix{.last_weight = least} : kept;
}

TokenId draw(std::span<const std::uint64_t> weights, const Prefix& kept, std::uint64_t random) {
  const Wide total = mass_of(weights, kept).weight;
  return token_at(weights, kept, static_cast<std::uint64_t>((Wide{random} * total) >> 64));
}

}  // namespace

Result<TokenId> sample_token(const SamplerInput& input, SamplerScratch& scratch) {
  const SamplingParams& params = input.params;
  // The order is part of the contract (and of kNumericsVersion): changing it changes answers.
  DW_TRY(copy_finite(input.logits, scratch.logits));
  const std::span<float> logits = scratch.logits;

  // 1. Bias before penalties: it corrects the model's opinion, penalties then see the corrected sign of a logit.
  add_bias(logits, params);

  // 2. Repetition (a factor) before frequency and presence (differences), as published; all before the temperature,
  //    so that their strength is in the model's own units, whatever the temperature.
  apply_penalties(logits, params, input.generated);

  // 3. The grammar after everything that is added (no bias can bring a forbidden token back) and before everything
  //    that counts or sums: top-k and top-p choose among what may be said.
  forbid_all_but(input.allowed, logits);

  const float max = max_of(logits);
  if (max == kForbidden) {
    return Error{Code::kFailedPrecondition, "the grammar allows no token here"};
  }
  if (std::isinf(max)) {
    return internal_error(
        "a penalty drove a logit beyond the range of floats; use one nearer to 1");
  }

  // Greedy is not the limit of a division by zero but a choice of its own; the steps below could not change it.
  if (params.temperature == 0.0F) {
    return first_with(logits, max);
  }

  // 4. Temperature before the selections, which are meant on the distribution that is drawn from.
  scratch.weights.resize(logits.size());
  const std::span<std::uint64_t> weights = scratch.weights;
  to_weights(logits, max, params.temperature, weights);

  // 5.-7. From here on the vocabulary is in one order, (weight descending, id ascending), and each step keeps a
  //    prefix of it. Top-k before top-p: the fraction is of what top-k left. Min-p last: its bound hangs on the
  //    highest weight alone, so it may only shorten what is left.
  Prefix kept;
  kept = keep_top_k(weights, kept, params.top_k, scratch.candidates);
  kept = keep_top_p(weights, kept, params.top_p, scratch.candidates);
  kept = keep_min_p(kept, params.min_p);

  // 8. The draw.
  return draw(weights, kept,
              random_bits(params.seed, input.choice, input.position, RandomPurpose::kDraw));
}

Result<std::vector<TokenLogprob>> top_logprobs(std::span<const float> logits, TokenId chosen,
                                               std::uint32_t n_top, SamplerScratch& scratch) {
  DW_CHECK(chosen >= 0 && static_cast<std::size_t>(chosen) < logits.size(),
           "a token of the vocabulary");
  DW_TRY(copy_finite(logits, scratch.logits));
  scratch.weights.resize(logits.size());
  const float max = max_of(logits);
  to_weights(logits, max, 1.0F, scratch.weights);
  const auto total = static_cast<double>(mass_of(scratch.weights, Prefix{}).weight);
  const double log_sum = log_f64(total / static_cast<double>(kMaxWeight));
  const auto logprob_of = [&](TokenId id) -> TokenLogprob {
    return {id,
            (static_cast<double>(logits[static_cast<std::size_t>(id)]) - static_cast<double>(max)) -
                log_sum};
  };

  std::vector<TokenId> top;  // sorted; a handful, so insertion is enough
  for (std::size_t i = 0; n_top != 0 && i < logits.size(); ++i) {
    if (top.size() == n_top && logits[i] <= logits[static_cast<std::size_t>(top.back())]) {
      continue;
    }
    if (top.size() == n_top) {
      top.pop_back();
    }
    const auto at =
        std::upper_bound(top.begin(), top.end(), logits[i], [&](float logit, TokenId other) {
          return logit > logits[static_cast<std::size_t>(other)];
        });
    top.insert(at, static_cast<TokenId>(i));
  }

  std::vector<TokenLogprob> result = {logprob_of(chosen)};
  for (const TokenId id : top) {
    result.push_back(logprob_of(id));
  }
  return result;
}

}  // namespace deepwell::engine
