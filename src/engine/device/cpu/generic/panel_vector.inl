// A panel times many tokens, by the vector instructions that single tokens use too, or by matrix tiles.
// Included inside each ISA's namespace and target region; no include guard on purpose.

template <class Type, int NT>
[[gnu::noinline]] void multiply_panel_vectors(const Panel& panel, const ProductQ8& p,
                                              std::size_t token, NextGroup& next) {
  const Q8Block* a[NT];
  V::F acc[NT];
  DW_UNROLL for (int t = 0; t < NT; ++t) {
    a[t] = p.act + (token + static_cast<std::size_t>(t)) * p.act_stride;
    acc[t] = V::set(0.0F);
  }
  for (std::size_t s = 0; s < panel.n_spans; ++s) {
    next.fetch_some();
    const Span<Type> w = load_span<Type>(panel, s);
    DW_UNROLL for (int t = 0; t < NT; ++t) acc[t] = add_span<Type>(acc[t], w, a[t][s]);
  }
  store_tile<NT>(acc, p.out + token * p.out_stride, p.out_stride, p.epilogue);
}

/// Returns how many tokens, from the first on, it has done. What has two scales a span takes vectors: half-filled tiles
/// are slower.
template <class Type>
std::uint32_t multiply_panel(const ProductQ8& p) {
  if constexpr (V::kHasTiles && Type::kScalesPerSpan == 1) {
    if (p.tiles != nullptr)
      return multiply_panel_tiles<Type>(unpack_panel<Type, true>(p.group, p.n_in, p.scratch), p);
  }
  const Panel panel = unpack_panel<Type, false>(p.group, p.n_in, p.scratch);
  NextGroup next = next_group<Type>(p, p.n_tokens / V::kTokenTile * panel.n_spans);
  std::uint32_t t = 0;
  for (; t + V::kTokenTile <= p.n_tokens; t += V::kTokenTile)
    multiply_panel_vectors<Type, V::kTokenTile>(panel, p, t, next);
  return t;
}
