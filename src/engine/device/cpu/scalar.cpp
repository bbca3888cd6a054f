// The scalar kernels: the slow truth that every other instruction set is compared with, bit by bit.
#include "engine/device/cpu/kernel_includes.hpp"

namespace deepwell::engine::scalar {

struct V {
  static constexpr Isa kIsa = Isa::kScalar;
  static constexpr int kTokenTile = 4;
  static constexpr int kQueryTile = 4;

  struct F {
    float v[16];
  };
  struct I {
    std::int32_t v[16];
  };
  struct B {
    std::uint8_t v[64];
  };

  template <class Fn>
  static F lanes(Fn fn) {
    F out;
    for (int i = 0; i < 16; ++i) out.v[i] = fn(i);
    return out;
  }

  static F load(const float* p) {
    return lanes([&](int i) { return p[i]; });
  }
  static void store(float* p, F a) { std::memcpy(p, a.v, sizeof a.v); }
  static F set(float x) {
    return lanes([&](int) { return x; });
  }
  static F add(F a, F b) {
    return lanes([&](int i) { return a.v[i] + b.v[i]; });
  }
  static F sub(F a, F b) {
    return lanes([&](int i) { return a.v[i] - b.v[i]; });
  }
  static F mul(F a, F b) {
    return lanes([&](int i) { return a.v[i] * b.v[i]; });
  }
  static F div(F a, F b) {
    return lanes([&](int i) { return a.v[i] / b.v[i]; });
  }
  static F fma(F a, F b, F c) {
    return lanes([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  static F fma_negated(F a, F b, F c) {
    return lanes([&](int i) { return std::fma(-a.v[i], b.v[i], c.v[i]); });
  }
  static float fma1(float a, float b, float c) { return std::fma(a, b, c); }
  // MINPS and MAXPS give the second operand if either is NaN.
  static F min(F a, F b) {
    return lanes([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F max(F a, F b) {
    return lanes([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F negate(F a) {
    return lanes([&](int i) { return -a.v[i]; });
  }
  static F abs(F a) {
    return lanes([&](int i) { return std::fabs(a.v[i]); });
  }
  static F power_of_two(F shifted) {
    return lanes([&](int i) {
      return std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted.v[i]) << 23) + 0x3F800000U);
    });
  }
  static F zero_where_less(F x, F limit, F a) {
    return lanes([&](int i) { return x.v[i] < limit.v[i] ? 0.0F : a.v[i]; });
  }

  /// The one tree that joins 16 lanes: i + (i+8), then +4, +2, +1.
  static float sum_lanes(F a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
    }
    return a.v[0];
  }
  static float max_lanes(F a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    }
    return a.v[0];
  }
  /// False if any lane is greater, or NaN.
  static bool all_at_most(F a, float limit) {
    return std::all_of(a.v, a.v + 16, [&](float x) { return x <= limit; });
  }
  /// p[0], p[2], ... p[30] and p[1], p[3], ... p[31]
  static void load_pairs(const float* p, F& first, F& second) {
    first = lanes([&](int i) { return p[2 * i]; });
    second = lanes([&](int i) { return p[2 * i + 1]; });
  }

  static F load_f16(const std::uint16_t* p) {
    return lanes([&](int i) { return f16_to_f32(p[i]); });
  }
  static void store_f16(std::uint16_t* p, F a) {
    for (int i = 0; i < 16; ++i) p[i] = f32_to_f16(a.v[i]);
  }
  static F load_u8(const std::uint8_t* p) {
    return lanes([&](int i) { return static_cast<float>(p[i]); });
  }
  /// The four bits of each byte from kFrom up.
  template <int kFrom>
  static F load_u4(const std::uint8_t* p) {
    return lanes([&](int i) { return static_cast<float>((p[i] >> kFrom) & 15); });
  }
  static F load_i8(const std::int8_t* p) {
    return lanes([&](int i) { return static_cast<float>(p[i]); });
  }
  static void store_rounded(float* p, F a) { store(p, a); }
  static void store_rounded(Half* p, F a) { store_f16(&p->bits, a); }
  static F load_weights(const float* p) { return load(p); }
  static F load_weights(const Half* p) {
    return lanes([&](int i) { return f16_to_f32(p[i].bits); });
  }
  static F load_weights(const Brain* p) {
    return lanes([&](int i) { return bf16_to_f32(p[i].bits); });
  }

  static I set_int(std::int32_t x) {
    I out;
    for (std::int32_t& lane : out.v) lane = x;
    return out;
  }
  static I add_int(I a, I b) {
    for (int i = 0; i < 16; ++i) a.v[i] += b.v[i];
    return a;
  }
  static F to_float(I a) {
    return lanes([&](int i) { return static_cast<float>(a.v[i]); });
  }
  static I to_int(F a) {
    I out;
    for (int i = 0; i < 16; ++i) out.v[i] = static_cast<std::int32_t>(std::nearbyint(a.v[i]));
    return out;
  }
  static void store_int8(std::int8_t* p, I a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(a.v[i]);
  }

  static constexpr bool kHasTiles = false;
  /// p[0] = sum of a's lanes, p[1] = of b's.
  static void store_sums(std::int32_t* p, I a, I b) {
    p[0] = std::accumulate(a.v, a.v + 16, 0);
    p[1] = std::accumulate(b.v, b.v + 16, 0);
  }

  static B load_bytes(const std::uint8_t* p) {
    B out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
  }
  static void store_bytes(std::uint8_t* p, B a) { std::memcpy(p, a.v, sizeof a.v); }
  /// (a >> kFrom) & kMask
  template <int kFrom, int kMask>
  static B take_bits(B a) {
    for (std::uint8_t& x : a.v) x = static_cast<std::uint8_t>((x >> kFrom) & kMask);
    return a;
  }
  /// table[a] for a < 16
  static B look_up(const std::uint8_t (&table)[16], B a) {
    for (std::uint8_t& x : a.v) x = table[x];
    return a;
  }
  /// a | ((bits from kFrom up) moved to kTo, masked)
  template <int kFrom, int kTo, int kMask>
  static B or_bits(B a, B bits) {
    for (int i = 0; i < 64; ++i) {
      const int moved = kFrom <= kTo ? bits.v[i] << (kTo - kFrom) : bits.v[i] >> (kFrom - kTo);
      a.v[i] = static_cast<std::uint8_t>(a.v[i] | (moved & kMask));
    }
    return a;
  }

  static I dot_unsigned(I acc, B w, const std::int8_t* a4) {
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < 4; ++k) acc.v[i] += w.v[4 * i + k] * a4[k];
    }
    return acc;
  }
  /// Signed weights are stored plus 128.
  static B as_signed(B stored) { return stored; }
  static I begin_signed(std::int32_t sum) { return set_int(-128 * sum); }
  static I dot_signed(I acc, B w, const std::int8_t* a4) { return dot_unsigned(acc, w, a4); }
};

#include "engine/device/cpu/generic/panel.inl"

#include "engine/device/cpu/generic/panel_vector.inl"

#include "engine/device/cpu/generic/all.inl"

}  // namespace deepwell::engine::scalar
