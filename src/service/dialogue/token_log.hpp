// TokenLog: one generation's tokens, append-only, put together from its events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/executor.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::service {

/// Plain data without a lock. Memory is bounded by the generation's max_tokens (4 bytes each),
/// however slow its readers are.
struct TokenLog {
  std::vector<engine::TokenId> ids;
  std::uint32_t n_cached_tok = 0;
  SteadyTime at = std::chrono::steady_clock::now();  // when the last event came

  /// Takes what is new of an event; tokens that are here already are skipped. Error: kDataLoss, for
  /// text must never close up over tokens that got lost.
  Status append(const engine::GenerationEvent& event);
};

}  // namespace deepwell::service
