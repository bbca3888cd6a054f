// Matrix products over packed row groups, written once over an instruction set's primitives (struct V).
// Included inside each ISA's namespace and target region; no include guard on purpose.

// Few tokens read each weight once, from memory: fetch ahead what the hardware would fetch late, a little at a time so
// that memory never waits for arithmetic, and no further than L2, which has room for more requests. The groups of a
// matrix follow each other, so running past a group's end warms the next one.
constexpr std::size_t kFetchAhead = 4096;  // bytes

/// NT tokens times a row group as it is packed.
template <class Type, int NT>
[[gnu::noinline]] void gemm_q8_tile(const ProductQ8& p, std::size_t token) {
  using Block = typename Type::Block;
  constexpr std::size_t kSpans = Block::kInputs / kQ8BlockLen;
  const auto* blocks = reinterpret_cast<const Block*>(p.group);
  const std::size_t n_blocks = p.n_in / Block::kInputs;
  const Q8Block* a[NT];
  V::F acc[NT];
  DW_UNROLL for (int t = 0; t < NT; ++t) {
    a[t] = p.act + (token + static_cast<std::size_t>(t)) * p.act_stride;
    acc[t] = V::set(0.0F);
  }
  for (std::size_t b = 0; b < n_blocks; ++b) {
    for (std::size_t s = 0; s < kSpans; ++s) {
      constexpr std::size_t kShare = (sizeof(Block) + kSpans - 1) / kSpans;
      const auto* share = reinterpret_cast<const std::byte*>(blocks + b) + kFetchAhead + s * kShare;
      DW_UNROLL for (std::size_t o = 0; o < kShare; o += 64) __builtin_prefetch(share + o, 0, 2);
      const Span<Type> w = load_span<Type>(blocks[b], s);
      DW_UNROLL for (int t = 0; t < NT; ++t) acc[t] =
          add_span<Type>(acc[t], w, a[t][b * kSpans + s]);
    }
  }
  store_tile<NT>(acc, p.out + token * p.out_stride, p.out_stride, p.epilogue);
}

template <class Element, int NT>
[[gnu::noinline]] void gemm_f32_tile(const ProductF32& p, std::size_t token) {
  const auto* w = reinterpret_cast<const Element*>(p.group);
  const float* x = p.act + token * p.act_stride;
  V::F acc[NT];
  DW_UNROLL for (int t = 0; t < NT; ++t) acc[t] = V::set(0.0F);
  for (std::size_t k = 0; k < p.n_in; ++k) {
    if constexpr (NT == 1)
      __builtin_prefetch(reinterpret_cast<const std::byte*>(w + 16 * k) + kFetchAhead, 0, 2);
    const V::F weights = V::load_weights(w + 16 * k);
    DW_UNROLL for (int t = 0; t < NT; ++t) {
      acc[t] = V::fma(weights, V::set(x[static_cast<std::size_t>(t) * p.act_stride + k]), acc[t]);
    }
  }
  store_tile<NT>(acc, p.out + token * p.out_stride, p.out_stride, p.epilogue);
}

/// Splits n_tokens into register tiles: as many of V::kTokenTile as fit, then 4, 2 and 1.
template <class Tile>
inline void for_token_tiles(std::uint32_t t, std::uint32_t n_tokens, Tile&& tile) {
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

// From so many tokens on, unpacking a row group once for all of them pays.
constexpr std::uint32_t kPanelTokens = 16;

template <class Type>
void gemm_q8(const ProductQ8& p) {
  std::uint32_t n_done = 0;
  if (p.n_tokens >= kPanelTokens && p.scratch != nullptr) n_done = multiply_panel<Type>(p);
  for_token_tiles(n_done, p.n_tokens,
                  [&]<int NT>(std::uint32_t t) { gemm_q8_tile<Type, NT>(p, t); });
}

template <class Element>
void gemm_f32(const ProductF32& p) {
  for_token_tiles(0, p.n_tokens,
                  [&]<int NT>(std::uint32_t t) { gemm_f32_tile<Element, NT>(p, t); });
}
