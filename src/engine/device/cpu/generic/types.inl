// How each packed type gives its codes and scales, a span of 32 inputs at a time.
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// A type names its Block and says
//   kOffset         a code is unsigned: value + kOffset
//   kScalesPerSpan  1, or 2 where 16 inputs share a scale
//   kHasMin         whether something is added besides scale · value
// and gives codes(), scale() of a half (always 0 if there is one scale) and min(), which is added as it comes.

inline void split_nibbles(const std::uint8_t* q, V::B (&codes)[8]) {
  DW_UNROLL for (int g = 0; g < 4; ++g) {
    const V::B pair = V::load_bytes(q + 64 * g);
    codes[g] = V::low_nibbles(pair);
    codes[g + 4] = V::high_nibbles(pair);
  }
}

/// Adds the fifth bits of 32 codes: bit g of a byte belongs to group g.
inline void add_fifth_bits(const std::uint8_t* h, V::B (&codes)[8]) {
  const V::B high = V::load_bytes(h);
  codes[0] = V::template or_bits<0, 4, 0x10>(codes[0], high);
  codes[1] = V::template or_bits<1, 4, 0x10>(codes[1], high);
  codes[2] = V::template or_bits<2, 4, 0x10>(codes[2], high);
  codes[3] = V::template or_bits<3, 4, 0x10>(codes[3], high);
  codes[4] = V::template or_bits<4, 4, 0x10>(codes[4], high);
  codes[5] = V::template or_bits<5, 4, 0x10>(codes[5], high);
  codes[6] = V::template or_bits<6, 4, 0x10>(codes[6], high);
  codes[7] = V::template or_bits<7, 4, 0x10>(codes[7], high);
}

struct TypeQ8_0 {
  using Block = PackedQ8_0;
  static constexpr int kOffset = 128;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = false;
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) {
    DW_UNROLL for (int g = 0; g < 8; ++g) codes[g] = V::load_bytes(w.q + 64 * g);
  }
  static V::F scale(const Block& w, std::size_t, int) { return V::load_f16(w.d); }
};

struct TypeQ4_1 {
  using Block = PackedQ4_1;
  static constexpr int kOffset = 0;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = true;
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) { split_nibbles(w.q, codes); }
  static V::F scale(const Block& w, std::size_t, int) { return V::load_f16(w.d); }
  static V::F min(const Block& w, std::size_t) { return V::load_f16(w.m); }
};

struct TypeQ5_0 {
  using Block = PackedQ5_0;
  static constexpr int kOffset = 16;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = false;
  static void codes(const Block& w, std::size_t, V::B (&codes)[8]) {
    split_nibbles(w.q, codes);
    add_fifth_bits(w.h, codes);
  }
  static V::F scale(const Block& w, std::size_t, int) { return V::load_f16(w.d); }
};

struct TypeQ4_K {
  using Block = PackedQ4_K;
  static constexpr int kOffset = 0;
  static constexpr int kScalesPerSpan = 1;
  static constexpr bool kHasMin = true;
  static void codes(const Block& w, std::size_t span, V::B (&codes)[8]) {
    split_nibbles(w.q[span], codes);
  }
  static V::F scale(const Block& w, std::size_t span, int) {
    return V::mul(V::load_f16(w.d), V::load_u8(w.scale[span]));
  }
  static V::F min(const Block& w, std::size_t span) {
    return V::negate(V::mul(V::load_f16(w.dmin), V::load_u8(w.min[span])));
  }
};

struct TypeQ6_K {
  using Block = PackedQ6_K;
  static constexpr int kOffset = 32;
  static constexpr int kScalesPerSpan = 2;
  static constexpr bool kHasMin = false;
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
  static V::F scale(const Block& w, std::size_t span, int half) {
    return V::mul(V::load_f16(w.d), V::load_i8(w.scale[2 * span + static_cast<std::size_t>(half)]));
  }
};
