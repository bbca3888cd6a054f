// What a request may say about how its next token is chosen.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

/// How logits become a token. The order in which these apply is fixed in sampler.cpp, in one list.
struct SamplingParams {
  float temperature = 0.8F;  // 0: greedy (highest logit, lowest id on ties)
  std::int32_t top_k = 0;    // 0: off
  float top_p = 1.0F;        // 1: off
  float min_p = 0.0F;        // 0: off; keeps candidates with weight >= min_p * highest weight
  float repetition_penalty =
      1.0F;  // 1: off; > 1 makes generated tokens less likely (CTRL, arXiv:1909.05858)
  float frequency_penalty = 0.0F;  // subtracted once per earlier occurrence among the generated ids
  float presence_penalty = 0.0F;   // subtracted once if it occurred among the generated ids
  std::vector<std::pair<TokenId, float>> logit_bias;  // added first
  std::uint64_t seed = 0;  // the caller draws one if the user gave none, and records it
};

}  // namespace deepwell::engine
