// From logits to a token: a pure function of logits, parameters, seed and position. No generator has a state.
//
//   TokenCounts generated;
//   SamplerScratch scratch;
//   SamplerInput input{.logits = logits, .params = params, .generated = generated, .position = n_tokens_so_far};
//   DW_ASSIGN(const TokenId token, sample_token(input, scratch));
//   generated.add(token);
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "engine/sampling/params.hpp"
#include "engine/sampling/token_counts.hpp"

namespace deepwell::engine {

/// All that a choice depends on. Views and references: they must live during the call only.
struct SamplerInput {
  std::span<const float> logits;  // [n_vocab], n_vocab <= kMaxVocab
  const SamplingParams& params;   // checked by validate()
  const TokenCounts&
      generated;  // ids of this answer, its prompt excluded; all inside the vocabulary
  std::span<const std::uint64_t> allowed =
      {};                      // grammar: bit id % 64 of word id / 64; empty: every token
  std::uint64_t position = 0;  // the chosen token's absolute position, prompt included
  std::uint32_t choice = 0;    // which of the request's answers
};

/// A token and its weight, exp(logit - highest) in units of 2^-40.
struct Candidate {
  std::uint64_t weight = 0;
  TokenId id = 0;
};

/// Buffers that a thread reuses from call to call; what they hold does not matter.
struct SamplerScratch {
  std::vector<float> logits;           // [n_vocab]
  std::vector<std::uint64_t> weights;  // [n_vocab]
  std::vector<Candidate> candidates;   // some of the vocabulary
};

/// Chooses the next token. Equal inputs give equal tokens, whatever machine, thread or instruction set.
/// Does not allocate once `scratch` has seen the vocabulary.
/// Errors: kInternal (a logit is infinite or not a number: the message names its token), kFailedPrecondition (the
/// grammar allows no token).
Result<TokenId> sample_token(const SamplerInput& input, SamplerScratch& scratch);

/// Checks what a request asks for. Errors: kInvalidArgument with `field` set to the parameter's name.
Status validate(const SamplingParams& params, std::uint32_t n_vocab);

struct TokenLogprob {
  TokenId id = 0;
  double logprob = 0;  // natural
};

/// log softmax of the logits as the model gave them (before bias, penalties and temperature) at `chosen`, followed by
/// the `n_top` likeliest tokens, likeliest first, ties to the lowest id. An absolute error of about 1e-7.
/// Errors: as sample_token.
Result<std::vector<TokenLogprob>> top_logprobs(std::span<const float> logits, TokenId chosen,
                                               std::uint32_t n_top, SamplerScratch& scratch);

}  // namespace deepwell::engine
