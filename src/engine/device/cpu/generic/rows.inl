// Operations on single rows: norm, quantising, SwiGLU, rotation, storing keys and values.
// Included inside each ISA's namespace and target region; no include guard on purpose.

/// exp_f32 of numerics/functions.hpp in 16 lanes: the same operations in the same order.
inline V::F exp_lanes(V::F x) {
  const V::F clamped = V::max(V::set(kExpZeroBelow), V::min(V::set(kExpMax), x));
  const V::F shifted = V::fma(clamped, V::set(kExpLog2e), V::set(kExpRoundShift));
  const V::F n = V::sub(shifted, V::set(kExpRoundShift));
  V::F r = V::fma_negated(n, V::set(kExpLn2Hi), clamped);
  r = V::fma_negated(n, V::set(kExpLn2Lo), r);
  V::F p = V::fma(V::set(kExpC6), r, V::set(kExpC5));
  p = V::fma(p, r, V::set(kExpC4));
  p = V::fma(p, r, V::set(kExpC3));
  p = V::fma(p, r, V::set(kExpC2));
  p = V::fma(p, r, V::set(1.0F));
  p = V::fma(p, r, V::set(1.0F));
  return V::zero_where_less(x, V::set(kExpZeroBelow), V::mul(p, V::power_of_two(shifted)));
}

/// The one tree that joins 16 partial sums (k mod 16): i + (i+8), then +4, +2, +1.
inline float sum_lanes(V::F x) {
  alignas(64) float lane[16];
  V::store(lane, x);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

inline float max_lanes(V::F x) {
  alignas(64) float lane[16];
  V::store(lane, x);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  }
  return lane[0];
}

inline void rms_norm(const float* x, const float* gain, std::uint32_t n, float eps, float* y) {
  V::F partial = V::set(0.0F);
  std::uint32_t k = 0;
  for (; k + 16 <= n; k += 16) {
    const V::F v = V::load(x + k);
    partial = V::fma(v, v, partial);
  }
  if (k < n) {
    alignas(64) float tail[16] = {};
    for (std::uint32_t i = k; i < n; ++i) tail[i - k] = x[i];
    const V::F v = V::load(tail);
    partial = V::fma(v, v, partial);
  }
  const float scale = 1.0F / std::sqrt(sum_lanes(partial) / static_cast<float>(n) + eps);
  const V::F s = V::set(scale);
  for (k = 0; k + 16 <= n; k += 16)
    V::store(y + k, V::mul(V::mul(V::load(x + k), s), V::load(gain + k)));
  for (; k < n; ++k) y[k] = x[k] * scale * gain[k];
}

inline void quantise(const float* x, std::uint32_t n, Q8Block* blocks) {
  for (std::uint32_t k = 0; k < n; k += kQ8BlockLen, ++blocks) {
    alignas(64) float values[kQ8BlockLen];
    const float* source = x + k;
    if (k + kQ8BlockLen > n) {
      std::memset(values, 0, sizeof values);
      std::memcpy(values, x + k, (n - k) * sizeof(float));
      source = values;
    }
    const V::F lo = V::load(source);
    const V::F hi = V::load(source + 16);
    const V::F magnitude = V::max(V::abs(lo), V::abs(hi));
    const float amax = max_lanes(magnitude);
    // A sum of x·0 is zero exactly when all are finite: max() alone may lose a NaN.
    const float check = sum_lanes(V::add(V::mul(lo, V::set(0.0F)), V::mul(hi, V::set(0.0F))));
    const bool is_finite = check == 0.0F;
    const bool is_zero = !(amax >= kSmallestAmax);
    const float inverse = is_zero || !is_finite ? 0.0F : 127.0F / amax;
    blocks->d = !is_finite ? std::numeric_limits<float>::quiet_NaN()
                : is_zero  ? 0.0F
                           : amax / 127.0F;
    const V::F scale = V::set(inverse);
    const V::F safe_lo = is_finite ? V::mul(lo, scale) : V::set(0.0F);
    const V::F safe_hi = is_finite ? V::mul(hi, scale) : V::set(0.0F);
    V::store_int8(blocks->q, V::to_int(safe_lo));
    V::store_int8(blocks->q + 16, V::to_int(safe_hi));
    std::int32_t sums[2] = {0, 0};
    for (int i = 0; i < 16; ++i) {
      sums[0] += blocks->q[i];
      sums[1] += blocks->q[i + 16];
    }
    blocks->sum16[0] = sums[0];
    blocks->sum16[1] = sums[1];
    blocks->d_sum = blocks->d * static_cast<float>(sums[0] + sums[1]);
  }
}

inline void swiglu(const float* gate, const float* up, std::uint32_t n, float* y) {
  for (std::uint32_t k = 0; k < n; k += 16) {  // buffers are padded to 16
    const V::F g = V::load(gate + k);
    const V::F e = exp_lanes(V::sub(V::set(0.0F), g));
    const V::F silu = V::div(g, V::add(V::set(1.0F), e));
    V::store(y + k, V::mul(silu, V::load(up + k)));
  }
}

/// (x0, x1) -> (x0·cos - x1·sin, x0·sin + x1·cos)
inline void rope(float* head, std::uint32_t d_rope, bool is_interleaved, const float* cos_sin) {
  const std::uint32_t n_pairs = d_rope / 2;
  const std::uint32_t step = is_interleaved ? 2 : 1;
  const std::uint32_t distance = is_interleaved ? 1 : n_pairs;
  for (std::uint32_t i = 0; i < n_pairs; ++i) {
    float& x0 = head[i * step];
    float& x1 = head[i * step + distance];
    const float c = cos_sin[2 * i];
    const float s = cos_sin[2 * i + 1];
    const float y0 = V::fma1(x0, c, -(x1 * s));
    const float y1 = V::fma1(x0, s, x1 * c);
    x0 = y0;
    x1 = y1;
  }
}

template <class Element>
void store_kv(const float* k, const float* v, std::uint32_t d_head, std::uint32_t lane,
              std::byte* block) {
  alignas(64) Element rounded[16];
  auto* keys = reinterpret_cast<Element*>(block);
  for (std::uint32_t d = 0; d < d_head; d += 16) {
    V::store_rounded(rounded, V::load(k + d));
    for (std::uint32_t i = 0; i < 16; ++i) keys[(d + i) * 16 + lane] = rounded[i];
  }
  Element* values = keys + 16 * d_head + lane * d_head;
  for (std::uint32_t d = 0; d < d_head; d += 16) V::store_rounded(values + d, V::load(v + d));
}
