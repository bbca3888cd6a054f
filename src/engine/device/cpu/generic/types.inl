// How each packed type gives its codes and scales, a span of 32 inputs at a time.
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// A type names its Block and says
//   kOffset         a code is unsigned: value + kOffset
//   kScalesPerSpan  1, or 2 where 16 inputs share a scale
//   kHasMin         whether something is added besides scale · value
// and gives the codes() of a span, and the scale() and min() at an index: that of the span, or of its half if it has
// two of them. The minimum is added as it comes.

inline void split_nibbles(const std::uint8_t* q, V::B (&codes)[8]) {
  DW_UNROLL for (int g = 0; g < 4; ++g) {
    const V::B both = V::load_bytes(q + 64 * g);
    codes[g] = V::template take_bits<0, 15>(both);
    codes[g + 4] = V::template take_bits<4, 15>(both);
  }
}

inline void split_pairs(const std::uint8_t* q, V::B (&codes)[8]) {
  DW_UNROLL for (int half = 0; half < 2; ++half) {
    const V::B four = V::load_bytes(q + 64 * half);
    codes[4 * half] = V::template take_bits<0, 3>(four);
    codes[4 * half + 1] = V::template take_bits<2, 3>(four);
    codes[4 * half + 2] = V::template take_bits<4, 3>(four);
    codes[4 * half + 3] = V::template take_bits<6, 3>(four);
  }
}

/// Adds bit kTo of 32 codes: bit g of a byte belongs to group g.
template <int kTo>
inline void add_bits(const std::uint8_t* h, V::B (&codes)[8]) {
  const V::B all = V::load_bytes(h);
  codes[0] = V::template or_bits<0, kTo, 1 << kTo>(codes[0], all);
  codes[1] = V::template or_bits<1, kTo, 1 << kTo>(codes[1], all);
  codes[2] = V::template or_bits<2, kTo, 1 << kTo>(codes[2], all);
  codes[3] = V::template or_bits<3, kTo, 1 << kTo>(codes[3], all);
  codes[4] = V::template or_bits<4, kTo, 1 << kTo>(codes[4], all);
  codes[5] = V::template or_bits<5, kTo, 1 << kTo>(codes[5], all);
  codes[6] = V::template or_bits<6, kTo, 1 << kTo>(codes[6], all);
  codes[7] = V::template or_bits<7, kTo, 1 << kTo>(codes[7], all);
}

/// Nibbles to unsigned codes of the non-linear types.
inline void look_up_nibbles(const std::uint8_t* q, V::B (&codes)[8]) {
  split_nibbles(q, codes);
  DW_UNROLL for (int g = 0; g < 8; ++g) codes[g] = V::look_up(kIq4Codes.codes, codes[g]);
}

// What several types have in common.

/// A block is a span, with one scale.
template <class Packed, int kCodeOffset>
struct SmallType {
  using Block = Packed;
  static constexpr int kOffset = kCodeOffset;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = false;
  static V::F scale(const Block& w, std::size_t) { return V::load_f16(w.d); }
};

/// One scale and one minimum.
template <class Packed>
struct SmallTypeWithMin : SmallType<Packed, 0> {
  static constexpr bool kHasMin = true;
  static V::F min(const Packed& w, std::size_t) { return V::load_f16(w.m); }
};

/// A block is eight spans, with signed scales.
template <class Packed, int kCodeOffset, int kScales>
struct SignedScaleType {
  using Block = Packed;
  static constexpr int kOffset = kCodeOffset;
  static constexpr int kScalesPerSpan = kScales;
  static constexpr bool kHasMin = false;
  static V::F scale(const Block& w, std::size_t i) {
    return V::mul(V::load_f16(w.d), V::load_i8(w.scale[i]));
  }
};

/// A block is eight spans, each with a scale and a minimum.
template <class Packed>
struct ScaleAndMinType {
  using Block = Packed;
  static constexpr int kOffset = 0;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = true;
  static V::F scale(const Block& w, std::size_t i) {
    return V::mul(V::load_f16(w.d), V::load_u8(w.scale[i]));
  }
  static V::F min(const Block& w, std::size_t i) {
    return V::negate(V::mul(V::load_f16(w.dmin), V::load_u8(w.min[i])));
  }
};

// The types.

struct TypeQ4_0 : SmallType<PackedQ4_0, 8> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) { split_nibbles(w.q, codes); }
};

struct TypeQ4_1 : SmallTypeWithMin<PackedQ4_1> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) { split_nibbles(w.q, codes); }
};

struct TypeQ5_0 : SmallType<PackedQ5_0, 16> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) {
    split_nibbles(w.q, codes);
    add_bits<4>(w.h, codes);
  }
};

struct TypeQ5_1 : SmallTypeWithMin<PackedQ5_1> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) {
    split_nibbles(w.q, codes);
    add_bits<4>(w.h, codes);
  }
};

struct TypeQ8_0 : SmallType<PackedQ8_0, 128> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) {
    DW_UNROLL for (int g = 0; g < 8; ++g) codes[g] = V::load_bytes(w.q + 64 * g);
  }
};

struct TypeIQ4_NL : SmallType<PackedIQ4_NL, 128> {
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) { look_up_nibbles(w.q, codes); }
};

struct TypeQ2_K {
  using Block = PackedQ2_K;
  static constexpr int kOffset = 0;
  static constexpr int kScalesPerSpan = 2;
  static constexpr bool kHasMin = true;
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_pairs(w.q[span], codes);
  }
  static V::F scale(const Block& w, std::size_t i) {
    return V::mul(V::load_f16(w.d), V::template load_u4<0>(w.scale_and_min[i]));
  }
  static V::F min(const Block& w, std::size_t i) {
    return V::negate(V::mul(V::load_f16(w.dmin), V::template load_u4<4>(w.scale_and_min[i])));
  }
};

struct TypeQ3_K : SignedScaleType<PackedQ3_K, 4, 2> {
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_pairs(w.low[span], codes);
    add_bits<2>(w.high[span], codes);
  }
};

struct TypeQ4_K : ScaleAndMinType<PackedQ4_K> {
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_nibbles(w.q[span], codes);
  }
};

struct TypeQ5_K : ScaleAndMinType<PackedQ5_K> {
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_nibbles(w.q[span], codes);
    add_bits<4>(w.h[span], codes);
  }
};

struct TypeQ6_K : SignedScaleType<PackedQ6_K, 32, 2> {
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_nibbles(w.low[span], codes);
    DW_UNROLL for (int half = 0; half < 2; ++half) {
      const V::B high = V::load_bytes(w.high[span] + 64 * half);
      V::B* c = codes + 4 * half;
      c[0] = V::template or_bits<0, 4, 0x30>(c[0], high);
      c[1] = V::template or_bits<2, 4, 0x30>(c[1], high);
      c[2] = V::template or_bits<4, 4, 0x30>(c[2], high);
      c[3] = V::template or_bits<6, 4, 0x30>(c[3], high);
    }
  }
};

struct TypeIQ4_XS : SignedScaleType<PackedIQ4_XS, 128, 1> {
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    look_up_nibbles(w.q[span], codes);
  }
};
