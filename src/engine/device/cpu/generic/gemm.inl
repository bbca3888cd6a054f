// Matrix products over packed row groups, written once over an instruction set's primitives (struct V).
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// Numerics (DESIGN rule 3): a lane is an output row; over each weight scale's span the dot product is an exact
// int32; then, in the order of K: s = d_w·sc; acc = fma(s·d_a, dot, acc) and, for types with a minimum,
// acc = fma(-(dmin·m), d_a·sum, acc). The order never depends on the tile.

template <int NT>
inline void store_tile(const V::F (&acc)[NT], float* out, std::size_t out_stride,
                       const Epilogue& epilogue) {
  for (int t = 0; t < NT; ++t) {
    V::F value = acc[t];
    float* row = out + static_cast<std::size_t>(t) * out_stride;
    if (epilogue.bias != nullptr) value = V::add(value, V::load(epilogue.bias));
    if (epilogue.is_added) value = V::add(V::load(row), value);
    V::store(row, value);
  }
}

inline void split_nibbles(const std::uint8_t* q, V::B (&groups)[8]) {
  DW_UNROLL for (int g = 0; g < 4; ++g) {
    const V::B pair = V::load_bytes(q + 64 * g);
    groups[g] = V::low_nibbles(pair);
    groups[g + 4] = V::high_nibbles(pair);
  }
}

/// dot over 32 inputs of unsigned weights minus `offset` each.
template <int kOffset>
inline V::I dot32(const V::B (&groups)[8], const Q8Block& a) {
  V::I even = V::set_int(-kOffset * (a.sum16[0] + a.sum16[1]));
  V::I odd = V::set_int(0);
  DW_UNROLL for (int g = 0; g < 8; g += 2) {
    even = V::dot_unsigned(even, groups[g], a.q + 4 * g);
    odd = V::dot_unsigned(odd, groups[g + 1], a.q + 4 * g + 4);
  }
  return V::add_int(even, odd);
}

struct GemmQ8_0 {
  using Block = PackedQ8_0;
  template <int NT>
  static inline void step(const Block& w, const Q8Block* const (&a)[NT], std::size_t b,
                          V::F (&acc)[NT]) {
    V::B groups[8];
    DW_UNROLL for (int g = 0; g < 8; ++g) groups[g] = V::load_signed(w.q + 64 * g);
    const V::F d = V::load_f16(w.d);
    DW_UNROLL for (int t = 0; t < NT; ++t) {
      const Q8Block& x = a[t][b];
      V::I even = V::begin_signed(x.sum16[0] + x.sum16[1]);
      V::I odd = V::set_int(0);
      DW_UNROLL for (int g = 0; g < 8; g += 2) {
        even = V::dot_signed(even, groups[g], x.q + 4 * g);
        odd = V::dot_signed(odd, groups[g + 1], x.q + 4 * g + 4);
      }
      acc[t] = V::fma(V::mul(d, V::set(x.d)), V::to_float(V::add_int(even, odd)), acc[t]);
    }
  }
};

struct GemmQ4_1 {
  using Block = PackedQ4_1;
  template <int NT>
  static inline void step(const Block& w, const Q8Block* const (&a)[NT], std::size_t b,
                          V::F (&acc)[NT]) {
    V::B groups[8];
    split_nibbles(w.q, groups);
    const V::F d = V::load_f16(w.d);
    const V::F m = V::load_f16(w.m);
    DW_UNROLL for (int t = 0; t < NT; ++t) {
      const Q8Block& x = a[t][b];
      acc[t] = V::fma(V::mul(d, V::set(x.d)), V::to_float(dot32<0>(groups, x)), acc[t]);
      acc[t] = V::fma(m, V::set(x.d_sum), acc[t]);
    }
  }
};

struct GemmQ5_0 {
  using Block = PackedQ5_0;
  template <int NT>
  static inline void step(const Block& w, const Q8Block* const (&a)[NT], std::size_t b,
                          V::F (&acc)[NT]) {
    V::B groups[8];
    split_nibbles(w.q, groups);
    const V::B high = V::load_bytes(w.h);
    groups[0] = V::template or_bits<0, 4, 0x10>(groups[0], high);
    groups[1] = V::template or_bits<1, 4, 0x10>(groups[1], high);
    groups[2] = V::template or_bits<2, 4, 0x10>(groups[2], high);
    groups[3] = V::template or_bits<3, 4, 0x10>(groups[3], high);
    groups[4] = V::template or_bits<4, 4, 0x10>(groups[4], high);
    groups[5] = V::template or_bits<5, 4, 0x10>(groups[5], high);
    groups[6] = V::template or_bits<6, 4, 0x10>(groups[6], high);
    groups[7] = V::template or_bits<7, 4, 0x10>(groups[7], high);
    const V::F d = V::load_f16(w.d);
    DW_UNROLL for (int t = 0; t < NT; ++t) {
      const Q8Block& x = a[t][b];
      acc[t] = V::fma(V::mul(d, V::set(x.d)), V::to_float(dot32<16>(groups, x)), acc[t]);
    }
  }
};

struct GemmQ4_K {
  using Block = PackedQ4_K;
  template <int NT>
  static inline void step(const Block& w, const Q8Block* const (&a)[NT], std::size_t b,
                          V::F (&acc)[NT]) {
    const V::F d = V::load_f16(w.d);
    const V::F dmin = V::load_f16(w.dmin);
    for (std::size_t span = 0; span < 8; ++span) {
      V::B groups[8];
      split_nibbles(w.q[span], groups);
      const V::F scale = V::mul(d, V::load_u8(w.scale[span]));
      const V::F min = V::mul(dmin, V::load_u8(w.min[span]));
      DW_UNROLL for (int t = 0; t < NT; ++t) {
        const Q8Block& x = a[t][b * 8 + span];
        acc[t] = V::fma(V::mul(scale, V::set(x.d)), V::to_float(dot32<0>(groups, x)), acc[t]);
        acc[t] = V::fma_negated(min, V::set(x.d_sum), acc[t]);
      }
    }
  }
};

struct GemmQ6_K {
  using Block = PackedQ6_K;
  template <int NT>
  static inline void step(const Block& w, const Q8Block* const (&a)[NT], std::size_t b,
                          V::F (&acc)[NT]) {
    const V::F d = V::load_f16(w.d);
    for (std::size_t span = 0; span < 8; ++span) {
      V::B groups[8];
      split_nibbles(w.low[span], groups);
      for (int half = 0; half < 2; ++half) {
        const V::B high = V::load_bytes(w.high[span] + 64 * half);
        V::B* g = groups + 4 * half;
        g[0] = V::template or_bits<0, 4, 0x30>(g[0], high);
        g[1] = V::template or_bits<2, 4, 0x30>(g[1], high);
        g[2] = V::template or_bits<4, 4, 0x30>(g[2], high);
        g[3] = V::template or_bits<6, 4, 0x30>(g[3], high);
      }
      const V::F scale0 = V::mul(d, V::load_i8(w.scale[2 * span]));
      const V::F scale1 = V::mul(d, V::load_i8(w.scale[2 * span + 1]));
      DW_UNROLL for (int t = 0; t < NT; ++t) {
        const Q8Block& x = a[t][b * 8 + span];
        V::I dot0 = V::set_int(-32 * x.sum16[0]);
        V::I dot1 = V::set_int(-32 * x.sum16[1]);
        DW_UNROLL for (int g = 0; g < 4; ++g) {
          dot0 = V::dot_unsigned(dot0, groups[g], x.q + 4 * g);
          dot1 = V::dot_unsigned(dot1, groups[g + 4], x.q + 16 + 4 * g);
        }
        const V::F d_a = V::set(x.d);
        acc[t] = V::fma(V::mul(scale0, d_a), V::to_float(dot0), acc[t]);
        acc[t] = V::fma(V::mul(scale1, d_a), V::to_float(dot1), acc[t]);
      }
    }
  }
};

template <class Type, int NT>
[[gnu::noinline]] void gemm_q8_tile(const std::byte* group, const Q8Block* act,
                                    std::size_t act_stride, std::uint32_t n_in, float* out,
                                    std::size_t out_stride, const Epilogue& epilogue) {
  using Block = typename Type::Block;
  const auto* blocks = reinterpret_cast<const Block*>(group);
  const std::size_t n_blocks = n_in / Block::kInputs;
  const Q8Block* a[NT];
  V::F acc[NT];
  DW_UNROLL for (int t = 0; t < NT; ++t) {
    a[t] = act + static_cast<std::size_t>(t) * act_stride;
    acc[t] = V::set(0.0F);
  }
  for (std::size_t b = 0; b < n_blocks; ++b) {
    if constexpr (NT == 1) {
      // One token reads each weight once, from memory: fetch ahead what the hardware would fetch late. The
      // groups of a matrix follow each other, so running past this group's end warms the next one.
      constexpr std::size_t kAhead = 4096;
      for (std::size_t o = 0; o < sizeof(Block); o += 64) {
        __builtin_prefetch(reinterpret_cast<const std::byte*>(blocks + b) + kAhead + o);
      }
    }
    Type::template step<NT>(blocks[b], a, b, acc);
  }
  store_tile<NT>(acc, out, out_stride, epilogue);
}

template <class Element, int NT>
[[gnu::noinline]] void gemm_f32_tile(const std::byte* group, const float* x, std::size_t x_stride,
                                     std::uint32_t n_in, float* out, std::size_t out_stride,
                                     const Epilogue& epilogue) {
  const auto* w = reinterpret_cast<const Element*>(group);
  V::F acc[NT];
  DW_UNROLL for (int t = 0; t < NT; ++t) acc[t] = V::set(0.0F);
  for (std::size_t k = 0; k < n_in; ++k) {
    const V::F weights = V::load_weights(w + 16 * k);
    DW_UNROLL for (int t = 0; t < NT; ++t) {
      acc[t] = V::fma(weights, V::set(x[static_cast<std::size_t>(t) * x_stride + k]), acc[t]);
    }
  }
  store_tile<NT>(acc, out, out_stride, epilogue);
}

/// Splits n_tokens into register tiles: as many of V::kTokenTile as fit, then 4, 2 and 1.
template <class Tile>
inline void for_token_tiles(std::uint32_t n_tokens, Tile&& tile) {
  std::uint32_t t = 0;
  for (; t + V::kTokenTile <= n_tokens; t += V::kTokenTile)
    tile.template operator()<V::kTokenTile>(t);
  if constexpr (V::kTokenTile > 4) {
    if (t + 4 <= n_tokens) tile.template operator()<4>(t), t += 4;
  }
  if constexpr (V::kTokenTile > 2) {
    if (t + 2 <= n_tokens) tile.template operator()<2>(t), t += 2;
  }
  for (; t < n_tokens; ++t) tile.template operator()<1>(t);
}

template <class Type>
void gemm_q8(const std::byte* group, const Q8Block* act, std::size_t act_stride,
             std::uint32_t n_tokens, std::uint32_t n_in, float* out, std::size_t out_stride,
             const Epilogue& epilogue) {
  for_token_tiles(n_tokens, [&]<int NT>(std::uint32_t t) {
    gemm_q8_tile<Type, NT>(group, act + t * act_stride, act_stride, n_in, out + t * out_stride,
                           out_stride, epilogue);
  });
}

template <class Element>
void gemm_f32(const std::byte* group, const float* x, std::size_t x_stride, std::uint32_t n_tokens,
              std::uint32_t n_in, float* out, std::size_t out_stride, const Epilogue& epilogue) {
  for_token_tiles(n_tokens, [&]<int NT>(std::uint32_t t) {
    gemm_f32_tile<Element, NT>(group, x + t * x_stride, x_stride, n_in, out + t * out_stride,
                               out_stride, epilogue);
  });
}
