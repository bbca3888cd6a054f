// Sequence: one generation as the engine's thread sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/runtime/generator.hpp"
#include "engine/sampling/token_counts.hpp"

namespace deepwell::engine {

/// Plain data; owned and touched by the engine's thread alone.
struct Sequence {
  GenerationId id = 0;
  GenerateRequest request;  // request.prompt and request.generated have moved into `tokens`
  std::shared_ptr<GenerationSink> sink;  // owners: this sequence and whoever reads its events
  std::vector<TokenId> tokens;           // prompt, then generated ids
  std::uint32_t n_prompt = 0;
  std::uint32_t n_computed = 0;  // leading tokens whose keys and values lie in `blocks`
  std::vector<std::uint32_t>
      blocks;  // enough for the longest this sequence may become; empty while it waits
  TokenCounts generated_counts;  // of the generated ids, for the penalties

  std::uint32_t n_tokens() const { return static_cast<std::uint32_t>(tokens.size()); }
  std::uint32_t n_generated() const { return n_tokens() - n_prompt; }
  /// Tokens still to be fed: 1 while decoding, more in prefill.
  std::uint32_t n_pending() const { return n_tokens() - n_computed; }
  std::span<const TokenId> generated() const { return std::span(tokens).subspan(n_prompt); }
};

}  // namespace deepwell::engine
