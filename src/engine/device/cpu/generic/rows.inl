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
  const float scale = 1.0F / std::sqrt(V::sum_lanes(partial) / static_cast<float>(n) + eps);
  const V::F s = V::set(scale);
  for (k = 0; k + 16 <= n; k += 16)
    V::store(y + k, V::mul(V::mul(V::load(x + k), s), V::load(gain + k)));
  for (; k < n; ++k) y[k] = x[k] * scale * gain[k];
}

/// One block of 32 values.
inline void quantise_block(const float* values, Q8Block& block) {
  const V::F lo = V::load(values);
  const V::F hi = V::load(values + 16);
  const V::F abs_lo = V::abs(lo);
  const V::F abs_hi = V::abs(hi);
  constexpr float kLargest = std::numeric_limits<float>::max();
  if (!V::all_at_most(abs_lo, kLargest) || !V::all_at_most(abs_hi, kLargest)) {
    block = {.q = {}, .d = std::numeric_limits<float>::quiet_NaN(), .d_sum = 0.0F, .sum16 = {}};
    block.d_sum = block.d;
    return;
  }
  const float amax = V::max_lanes(V::max(abs_lo, abs_hi));
  const bool is_zero = amax < kSmallestAmax;
  const V::F scale = V::set(is_zero ? 0.0F : 127.0F / amax);
  const auto q_lo = V::to_int(V::mul(lo, scale));
  const auto q_hi = V::to_int(V::mul(hi, scale));
  V::store_int8(block.q, q_lo);
  V::store_int8(block.q + 16, q_hi);
  V::store_sums(block.sum16, q_lo, q_hi);
  block.d = is_zero ? 0.0F : amax / 127.0F;
  block.d_sum = block.d * static_cast<float>(block.sum16[0] + block.sum16[1]);
}

inline void quantise(const float* x, std::uint32_t n, Q8Block* blocks) {
  std::uint32_t k = 0;
  for (; k + kQ8BlockLen <= n; k += kQ8BlockLen) quantise_block(x + k, *blocks++);
  if (k == n) return;
  alignas(64) float tail[kQ8BlockLen] = {};
  std::memcpy(tail, x + k, (n - k) * sizeof(float));
  quantise_block(tail, *blocks);
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
inline void rope_pair(float& x0, float& x1, const float* cos_sin) {
  const float y0 = V::fma1(x0, cos_sin[0], -(x1 * cos_sin[1]));
  const float y1 = V::fma1(x0, cos_sin[1], x1 * cos_sin[0]);
  x0 = y0;
  x1 = y1;
}

inline void rope(float* head, std::uint32_t d_rope, bool is_interleaved, const float* cos_sin) {
  const std::uint32_t n_pairs = d_rope / 2;
  if (is_interleaved) {
    for (std::uint32_t i = 0; i < n_pairs; ++i)
      rope_pair(head[2 * i], head[2 * i + 1], cos_sin + 2 * i);
    return;
  }
  std::uint32_t i = 0;
  for (; i + 16 <= n_pairs; i += 16) {
    V::F c, s;
    V::load_pairs(cos_sin + 2 * i, c, s);
    const V::F x0 = V::load(head + i);
    const V::F x1 = V::load(head + n_pairs + i);
    const V::F minus_s = V::mul(s, V::set(-1.0F));
    V::store(head + i, V::fma(x0, c, V::mul(x1, minus_s)));
    V::store(head + n_pairs + i, V::fma(x0, s, V::mul(x1, c)));
  }
  for (; i < n_pairs; ++i) rope_pair(head[i], head[n_pairs + i], cos_sin + 2 * i);
}

/// x ≈ scale · q, as a Q8Block's; the same rules for zeros and values that are not finite. put(d, q[d..d+15]).
template <class Put>
inline float quantise_head(const float* x, std::uint32_t n, Put put) {
  V::F most = V::set(0.0F);
  bool is_finite = true;
  for (std::uint32_t d = 0; d < n; d += 16) {
    const V::F magnitude = V::abs(V::load(x + d));
    is_finite = is_finite && V::all_at_most(magnitude, std::numeric_limits<float>::max());
    most = V::max(most, magnitude);
  }
  const float amax = V::max_lanes(most);
  const bool is_zero = !is_finite || amax < kSmallestAmax;
  const V::F inverse = V::set(is_zero ? 0.0F : 127.0F / amax);
  alignas(16) std::int8_t q[16];
  for (std::uint32_t d = 0; d < n; d += 16) {
    V::store_int8(q, V::to_int(is_zero ? inverse : V::mul(V::load(x + d), inverse)));
    put(d, q);
  }
  return !is_finite ? std::numeric_limits<float>::quiet_NaN() : is_zero ? 0.0F : amax / 127.0F;
}

/// A block of int8: K [d_head][16], V [16][d_head], scales of keys [ceil(d_head/32)][16] and of values [16].
inline void store_kv_q8(const float* k, const float* v, std::uint32_t d_head, std::uint32_t lane,
                        std::byte* block) {
  auto* keys = reinterpret_cast<std::int8_t*>(block);
  std::int8_t* values = keys + 16 * d_head;
  auto* scales = reinterpret_cast<float*>(values + 16 * d_head);
  for (std::uint32_t begin = 0; begin < d_head; begin += kKeyScaleDims, scales += 16) {
    const std::uint32_t n = d_head - begin < kKeyScaleDims ? d_head - begin : kKeyScaleDims;
    scales[lane] = quantise_head(k + begin, n, [&](std::uint32_t d, const std::int8_t* q) {
      for (std::uint32_t i = 0; i < 16; ++i) keys[(begin + d + i) * 16 + lane] = q[i];
    });
  }
  scales[lane] = quantise_head(v, d_head, [&](std::uint32_t d, const std::int8_t* q) {
    std::memcpy(values + lane * d_head + d, q, 16);
  });
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
