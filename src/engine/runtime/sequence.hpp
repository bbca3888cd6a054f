// Sequence: one generation as the engine's thread sees it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/runtime/block_name.hpp"
#include "engine/runtime/generator.hpp"
#include "engine/runtime/ngram_drafter.hpp"
#include "engine/sampling/token_counts.hpp"

namespace deepwell::engine {

/// Plain data; owned and touched by the engine's thread alone.
struct Sequence {
  GenerationId id = 0;
  std::int64_t waiting_since_ms = 0;  // when it came, on the scheduler's clock
  std::int64_t level = 0;             // its priority when it was admitted, raised by waiting
  GenerateRequest request;  // request.prompt and request.generated have moved into `tokens`
  std::shared_ptr<GenerationSink> sink;  // owners: this sequence and whoever reads its events
  std::vector<TokenId> tokens;           // prompt, then generated ids
  std::uint32_t n_prompt = 0;
  std::uint32_t n_computed = 0;       // leading tokens whose keys and values lie in `blocks`
  std::vector<std::uint32_t> blocks;  // for all tokens it has now; empty while it waits
  TokenCounts generated_counts;       // of the generated ids before n_counted, for the penalties
  std::uint32_t n_counted = 0;        // leading tokens that generated_counts has seen

  std::vector<BlockName> names;      // of leading full blocks, as far as somebody asked
  std::uint32_t n_named_blocks = 0;  // leading blocks that the arena's directory names
  std::uint32_t n_cached = 0;        // prompt tokens that needed no computing
  std::uint32_t n_reached = 0;       // n_computed before it was preempted: cached once, or computed

  NgramDrafter drafter;
  std::vector<TokenId> draft;      // guesses of this step behind the newest token
  bool is_draft_by_model = false;  // ... are ModelDrafter's, else the drafter's

  std::uint32_t n_known = 0;       // tokens it came with; what is chosen here follows them
  std::uint32_t verify_begin = 0;  // known ids from this position on are chosen anew and compared
  std::uint32_t n_mismatched = 0;  // of them, since the last event

  std::uint32_t n_tokens() const { return static_cast<std::uint32_t>(tokens.size()); }
  std::uint32_t n_generated() const { return n_tokens() - n_prompt; }
  /// Tokens still to be fed: 1 while decoding, more in prefill.
  std::uint32_t n_pending() const { return n_tokens() - n_computed; }
  /// Of the rows [begin, end): how many there are from the first one on that chooses a known id anew.
  std::uint32_t n_rows_from_verifying(std::uint32_t begin, std::uint32_t end) const {
    const std::uint32_t first = std::max(begin + 1, verify_begin) - 1;  // it chooses id first + 1
    return first < end && first + 1 < n_known ? end - first : 0;
  }
  std::span<const TokenId> generated() const { return std::span(tokens).subspan(n_prompt); }
};

}  // namespace deepwell::engine
