// The passes over a whole vocabulary: finite or not, the highest logit, logits to integer weights.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace deepwell::engine {

/// The weight of the likeliest token: weights are probabilities in units of 2^-40 of its own.
inline constexpr std::uint64_t kMaxWeight = std::uint64_t{1} << 40;

/// Sums of weights stay below 2^63 up to that many tokens.
inline constexpr std::size_t kMaxVocab = std::size_t{1} << 22;

/// The index of the first infinity or not-a-number.
std::optional<std::size_t> find_non_finite(std::span<const float> logits);

/// The highest logit; -infinity for none. Not-a-numbers must have been refused.
float max_of(std::span<const float> logits);

/// weight = uint64(rne(exp((logit - max) / temperature) * 2^40)); a logit of -infinity gets 0.
/// The same bits whatever instruction set runs it. Both spans are of one length; temperature > 0.
void to_weights(std::span<const float> logits, float max, float temperature,
                std::span<std::uint64_t> weights);

/// How many tokens, and the sum of their weights.
struct Mass {
  std::uint64_t n = 0;
  std::uint64_t weight = 0;

  void add(std::uint64_t w) {
    ++n;
    weight += w;
  }
};

/// The mass of the weights that are at least `least`.
Mass mass_at_least(std::span<const std::uint64_t> weights, std::uint64_t least);

}  // namespace deepwell::engine
