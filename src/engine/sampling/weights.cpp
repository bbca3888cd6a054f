// The vocabulary passes, compiled twice: for the baseline and for AVX2 with FMA. The compiler makes lanes of the same
// scalar code (this file is built with -O3), so both give the same bits.
#include "engine/sampling/weights.hpp"

#include <bit>
#include <cmath>
#include <limits>

#include "engine/device/cpu/isa.hpp"
#include "engine/device/cpu/target_region.hpp"
#include "engine/numerics/functions.hpp"

namespace deepwell::engine {
namespace {

/// One logit's weight. Adding 2^52 rounds to nearest even and leaves the integer in the low bits.
[[gnu::always_inline]] inline std::uint64_t weight_of(float logit, float max, float temperature) {
  const double scaled = static_cast<double>(exp_f32((logit - max) / temperature)) * 0x1p+40;
  return std::bit_cast<std::uint64_t>(scaled + 0x1p+52) & ((std::uint64_t{1} << 52) - 1);
}

/// The passes for one instruction set.
struct Passes {
  void (*weights_of)(const float* logits, std::size_t n, float max, float temperature,
                     std::uint64_t* weights);
  Mass (*mass_at_least)(const std::uint64_t* weights, std::size_t n, std::uint64_t least);
};

[[gnu::always_inline]] inline void weights_of_any(const float* logits, std::size_t n, float max,
                                                  float temperature, std::uint64_t* weights) {
  for (std::size_t i = 0; i < n; ++i) {
    weights[i] = weight_of(logits[i], max, temperature);
  }
}

[[gnu::always_inline]] inline Mass mass_at_least_any(const std::uint64_t* weights, std::size_t n,
                                                     std::uint64_t least) {
  // As signed numbers, which weights fit: AVX2 compares only those.
  const auto bound = static_cast<std::int64_t>(least);
  std::uint64_t n_kept = 0;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const bool is_kept = static_cast<std::int64_t>(weights[i]) >= bound;
    n_kept += is_kept ? 1U : 0U;
    sum += is_kept ? weights[i] : 0U;
  }
  return {n_kept, sum};
}

namespace baseline {
void weights_of(const float* logits, std::size_t n, float max, float temperature,
                std::uint64_t* weights) {
  weights_of_any(logits, n, max, temperature, weights);
}
Mass mass_at_least(const std::uint64_t* weights, std::size_t n, std::uint64_t least) {
  return mass_at_least_any(weights, n, least);
}
constexpr Passes kPasses = {weights_of, mass_at_least};
}  // namespace baseline

#if defined(__x86_64__)
DW_TARGET_BEGIN("avx2,fma")
namespace avx2 {
void weights_of(const float* logits, std::size_t n, float max, float temperature,
                std::uint64_t* weights) {
  weights_of_any(logits, n, max, temperature, weights);
}
Mass mass_at_least(const std::uint64_t* weights, std::size_t n, std::uint64_t least) {
  return mass_at_least_any(weights, n, least);
}
constexpr Passes kPasses = {weights_of, mass_at_least};
}  // namespace avx2
DW_TARGET_END
#endif

const Passes& choose_passes() {
#if defined(__x86_64__)
  const auto isa = choose_isa();
  if (isa && *isa != Isa::kScalar) {
    return avx2::kPasses;
  }
#endif
  return baseline::kPasses;
}

const Passes& passes() {
  static const Passes& kChosen = choose_passes();
  return kChosen;
}

}  // namespace

std::optional<std::size_t> find_non_finite(std::span<const float> logits) {
  // All bits of the exponent set: infinity or not-a-number. Counting first needs no branch, so it runs in lanes.
  std::uint32_t n_bad = 0;
  for (const float logit : logits) {
    n_bad += (std::bit_cast<std::uint32_t>(logit) & 0x7F800000U) == 0x7F800000U ? 1U : 0U;
  }
  for (std::size_t i = 0; n_bad != 0 && i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) {
      return i;
    }
  }
  return std::nullopt;
}

float max_of(std::span<const float> logits) {
  // Sixteen maxima side by side, which a compiler can keep in lanes; the order does not matter to a maximum.
  constexpr std::size_t kLanes = 16;
  float lanes[kLanes];
  for (float& lane : lanes) {
    lane = -std::numeric_limits<float>::infinity();
  }
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t k = 0; k < kLanes; ++k) {
      lanes[k] = logits[i + k] > lanes[k] ? logits[i + k] : lanes[k];
    }
  }
  for (; i < logits.size(); ++i) {
    lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
  }
  float max = lanes[0];
  for (const float lane : lanes) {
    max = lane > max ? lane : max;
  }
  return max;
}

void to_weights(std::span<const float> logits, float max, float temperature,
                std::span<std::uint64_t> weights) {
  passes().weights_of(logits.data(), logits.size(), max, temperature, weights.data());
}

Mass mass_at_least(std::span<const std::uint64_t> weights, std::uint64_t least) {
  return passes().mass_at_least(weights.data(), weights.size(), least);
}

}  // namespace deepwell::engine
