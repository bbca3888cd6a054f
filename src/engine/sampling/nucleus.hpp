// Prefixes of the vocabulary in the order (weight descending, id ascending): what top-k, top-p and min-p keep.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling/sampler.hpp"
#include "engine/sampling/weights.hpp"

namespace deepwell::engine {

/// A prefix of that order, named by its last token: all heavier tokens, and those of equal weight up to its id.
struct Prefix {
  std::uint64_t last_weight = 1;  // weight 0 is never kept
  TokenId last_id = INT32_MAX;

  bool holds(std::uint64_t weight, TokenId id) const { return weight >= least_weight(id); }
  /// What a token of that id must weigh to be kept.
  std::uint64_t least_weight(TokenId id) const {
    return id <= last_id ? last_weight : last_weight + 1;
  }
};

Mass mass_of(std::span<const std::uint64_t> weights, const Prefix& prefix);

/// The token in whose share of the prefix's mass `at` falls, shares being laid out by ascending id.
/// `at` is less than that mass.
TokenId token_at(std::span<const std::uint64_t> weights, const Prefix& prefix, std::uint64_t at);

/// What a prefix must reach: so many tokens, or so much weight, whichever it asks for.
struct Goal {
  std::uint64_t n = 0;
  std::uint64_t weight = 0;

  bool is_reached_by(const Mass& mass) const { return mass.n >= n && mass.weight >= weight; }
};

/// The smallest prefix inside `outer` that reaches the goal; `outer` itself if none does. Linear time, no sort of the
/// vocabulary.
Prefix shortest_prefix(std::span<const std::uint64_t> weights, const Prefix& outer,
                       const Goal& goal, std::vector<Candidate>& scratch);

}  // namespace deepwell::engine
