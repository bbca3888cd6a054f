// Frequencies, how they are stretched, and their cosines and sines.
#include "engine/model/rope_table.hpp"

#include <algorithm>

#include "engine/numerics/functions.hpp"

namespace deepwell::engine {

namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;

/// The dimension pair whose wave turns `n_turns` times within the original context (YaRN, section 3.2).
double pair_of_turns(const RopeHyperParams& rope, double n_turns) {
  return rope.d_rope * log_f64(rope.n_ctx_original_tok / (n_turns * kTwoPi)) /
         (2.0 * log_f64(rope.freq_base));
}

/// Angle per position of every pair.
std::vector<double> frequencies(const RopeHyperParams& rope) {
  const std::uint32_t n_pairs = rope.d_rope / 2;
  std::vector<double> freq(n_pairs);
  const double last = n_pairs == 0 ? 0.0 : n_pairs * 2.0 - 1.0;
  double low = 0.0, high = 0.0;
  if (rope.scaling == RopeHyperParams::Scaling::kYarn) {
    low = std::max(0.0, std::floor(pair_of_turns(rope, rope.beta_fast)));
    high = std::min(last, std::ceil(pair_of_turns(rope, rope.beta_slow)));
  }
  for (std::uint32_t i = 0; i < n_pairs; ++i) {
    const double base = pow_f64(rope.freq_base, -2.0 * i / rope.d_rope);
    const double own =
        rope.freq_factors.empty() ? base : base / static_cast<double>(rope.freq_factors[i]);
    switch (rope.scaling) {
      case RopeHyperParams::Scaling::kNone:
        freq[i] = own;
        break;
      case RopeHyperParams::Scaling::kLinear:
        freq[i] = own / rope.factor;
        break;
      case RopeHyperParams::Scaling::kYarn: {
        // Fast waves stay as they were trained, slow ones are interpolated, those between are mixed.
        const double ramp = std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
        freq[i] = own / rope.factor * ramp + own * (1.0 - ramp);
        break;
      }
    }
  }
  return freq;
}

}  // namespace

std::vector<float> make_rope_table(const RopeHyperParams& rope, std::uint32_t n_positions) {
  const std::vector<double> freq = frequencies(rope);
  double magnitude = 1.0;
  if (rope.scaling == RopeHyperParams::Scaling::kYarn) {
    magnitude = rope.attention_factor * (1.0 + 0.1 * log_f64(std::max(1.0, rope.factor)));
  }
  std::vector<float> table(static_cast<std::size_t>(n_positions) * rope.d_rope);
  float* out = table.data();
  for (std::uint32_t pos = 0; pos < n_positions; ++pos) {
    for (const double f : freq) {
      *out++ = static_cast<float>(cos_f64(pos * f) * magnitude);
      *out++ = static_cast<float>(sin_f64(pos * f) * magnitude);
    }
  }
  return table;
}

}  // namespace deepwell::engine
