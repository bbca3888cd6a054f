// Attention of queries over the key/value blocks of one sequence and one key/value head.
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// Numerics (DESIGN rule 5): a score sums over d in order, a lane being a key. Key blocks are 128 keys from absolute
// position 0; each block's (max, sum, output) starts from nothing; blocks merge in ascending order by merge_block().
// Masked lanes have weight exactly 0 and the loop over values stops at the last valid key, so neither what a chunk
// holds nor what lies behind a sequence's end can change a bit.
//
// Speed: kTile queries share each load and conversion of a key and of a value. One tile goes through scores, weights
// and output of a key block before the next does, so that the block and the tile's scores stay in the L1 cache.

inline constexpr std::uint32_t kKeyBlock = kKeyBlockTok;
inline constexpr std::uint32_t kLanes = 16;
inline constexpr std::uint32_t kTile = V::kQueryTile;

/// How many loads of `n` queries are made at once, so that enough independent sums are under way.
constexpr int n_at_once(int n) {
  const int n_sums = static_cast<int>(kTile) / n;
  return n_sums >= 8 ? 8 : n_sums >= 4 ? 4 : n_sums >= 2 ? 2 : 1;
}

/// fn<NQ>(first) over [0, n) in the widest pieces that are compiled: kTile, 16, 8, 7, ... 1.
template <int NQ, class Fn>
inline void for_queries(std::uint32_t first, std::uint32_t n, Fn& fn) {
  for (; n >= NQ; first += NQ, n -= NQ) fn.template operator()<NQ>(first);
  if constexpr (NQ > 1) {
    if (n > 0) for_queries<(NQ > 16 ? 16 : NQ > 8 ? 8 : NQ - 1)>(first, n, fn);
  }
}

/// One head's part of a block: K as [d_head][16], then V as [16][d_head]; of int8 then scales of
/// keys [ceil(d_head/32)][16] and of values [16].
template <class Element>
inline const Element* keys_of(const std::byte* block) {
  return reinterpret_cast<const Element*>(block);
}
template <class Element>
inline const Element* values_of(const std::byte* block, std::uint32_t d_head) {
  return keys_of<Element>(block) + kLanes * d_head;
}

template <class Element>
inline constexpr bool kHasScales = std::is_same_v<Element, std::int8_t>;
inline const float* key_scales_of(const std::byte* block, std::uint32_t d_head) {
  return reinterpret_cast<const float*>(block + 2 * kLanes * d_head);
}
inline const float* value_scales_of(const std::byte* block, std::uint32_t d_head) {
  return key_scales_of(block, d_head) + (d_head + kKeyScaleDims - 1) / kKeyScaleDims * kLanes;
}

inline V::F load_element(const std::int8_t* p) { return V::load_i8(p); }
template <class Element>
inline V::F load_element(const Element* p) {
  return V::load_weights(p);
}

/// Asks for half a block (its keys, or its values) from memory. The blocks of a head lie far apart: no hardware
/// prefetcher finds the next one.
inline void prefetch(const void* begin, std::size_t n_bytes) {
  for (std::size_t i = 0; i < n_bytes; i += 64)
    __builtin_prefetch(static_cast<const char*>(begin) + i);
}
template <class Element>
inline void prefetch_keys(const std::byte* block, std::uint32_t d_head) {
  prefetch(keys_of<Element>(block), sizeof(Element) * kLanes * d_head);
}
template <class Element>
inline void prefetch_values(const std::byte* block, std::uint32_t d_head) {
  const std::byte* end =
      kHasScales<Element>
          ? reinterpret_cast<const std::byte*>(value_scales_of(block, d_head) + kLanes)
          : block + 2 * sizeof(Element) * kLanes * d_head;
  const auto* begin = reinterpret_cast<const std::byte*>(values_of<Element>(block, d_head));
  prefetch(begin, static_cast<std::size_t>(end - begin));
}

/// scores[q][16·g + lane] of NQ queries against the keys of NG blocks.
template <class Element, int NQ, int NG>
inline void score_keys(const std::byte* const* blocks, const float* queries, std::uint32_t d_head,
                       float scale, float* scores) {
  const Element* keys[NG];
  V::F acc[NG][NQ];
  DW_UNROLL for (int g = 0; g < NG; ++g) {
    keys[g] = keys_of<Element>(blocks[g]);
    DW_UNROLL for (int q = 0; q < NQ; ++q) acc[g][q] = V::set(0.0F);
  }
  V::F scales[NG];
  DW_UNROLL for (int g = 0; g < NG; ++g) scales[g] = V::set(1.0F);
  for (std::uint32_t d = 0; d < d_head; ++d) {
    V::F k[NG];
    DW_UNROLL for (int g = 0; g < NG; ++g) {
      k[g] = load_element(keys[g] + d * kLanes);
      if constexpr (kHasScales<Element>) {
        if (d % kKeyScaleDims == 0)
          scales[g] = V::load(key_scales_of(blocks[g], d_head) + d / kKeyScaleDims * kLanes);
        k[g] = V::mul(k[g], scales[g]);
      }
    }
    DW_UNROLL for (int q = 0; q < NQ; ++q) {
      const V::F x = V::set(queries[d * kTile + static_cast<std::uint32_t>(q)]);
      DW_UNROLL for (int g = 0; g < NG; ++g) acc[g][q] = V::fma(x, k[g], acc[g][q]);
    }
  }
  DW_UNROLL for (int g = 0; g < NG; ++g) {
    DW_UNROLL for (int q = 0; q < NQ; ++q) V::store(
        scores + q * static_cast<int>(kKeyBlock) + g * 16, V::mul(acc[g][q], V::set(scale)));
  }
}

/// out[q][16·c + lane] = sum over keys [0, n_keys) of weights[q][key] · value[key][16·c + lane], in order.
/// The keys of the n_next blocks from `next` on are asked for: they come next.
template <class Element, int NQ, int NC>
inline void weigh_values(const std::byte* const* blocks, std::uint32_t d_head, std::uint32_t d,
                         std::uint32_t n_keys, const float* weights, float* out,
                         const std::byte* const* next, std::uint32_t n_next) {
  V::F acc[NC][NQ];
  DW_UNROLL for (int c = 0; c < NC; ++c) {
    DW_UNROLL for (int q = 0; q < NQ; ++q) acc[c][q] = V::set(0.0F);
  }
  for (std::uint32_t begin = 0; begin < n_keys; begin += kLanes) {
    if (begin / kLanes < n_next) prefetch_keys<Element>(next[begin / kLanes], d_head);
    const Element* value = values_of<Element>(blocks[begin / kLanes], d_head) + d;
    const std::uint32_t end = n_keys - begin < kLanes ? n_keys : begin + kLanes;
    for (std::uint32_t key = begin; key < end; ++key, value += d_head) {
      V::F v[NC];
      DW_UNROLL for (int c = 0; c < NC; ++c) v[c] = load_element(value + c * 16);
      DW_UNROLL for (int q = 0; q < NQ; ++q) {
        const V::F w = V::set(weights[static_cast<std::uint32_t>(q) * kKeyBlock + key]);
        DW_UNROLL for (int c = 0; c < NC; ++c) acc[c][q] = V::fma(w, v[c], acc[c][q]);
      }
    }
  }
  DW_UNROLL for (int c = 0; c < NC; ++c) {
    DW_UNROLL for (int q = 0; q < NQ; ++q)
        V::store(out + static_cast<std::uint32_t>(q) * d_head + d + c * 16, acc[c][q]);
  }
}

/// out += sum over keys [first, last), of one query: the keys that its tile's first query does not see.
template <class Element>
inline void weigh_more_values(const std::byte* const* blocks, std::uint32_t d_head,
                              std::uint32_t first, std::uint32_t last, const float* weights,
                              float* out) {
  for (std::uint32_t key = first; key < last; ++key) {
    const Element* value =
        values_of<Element>(blocks[key / kLanes], d_head) + (key % kLanes) * d_head;
    const V::F w = V::set(weights[key]);
    for (std::uint32_t d = 0; d < d_head; d += kLanes)
      V::store(out + d, V::fma(w, load_element(value + d), V::load(out + d)));
  }
}

/// What queries know after some keys: the greatest score, the sum of weights, and the weighted sum of values.
struct Partial {
  float* max;  // [n]
  float* sum;  // [n]
  float* out;  // [n][d_head]
};

/// Turns one query's scores of a key block into weights exp(score - max), zero from n_valid on. Where values have
/// scales, the weights take them in after they were summed.
template <class Element>
inline void softmax_block(const std::byte* const* blocks, std::uint32_t d_head, float* scores,
                          std::uint32_t n_valid, float& max, float& sum) {
  const std::uint32_t n_padded = (n_valid + kLanes - 1) / kLanes * kLanes;
  for (std::uint32_t k = n_valid; k < n_padded; ++k)
    scores[k] = -std::numeric_limits<float>::infinity();
  V::F running = V::load(scores);
  for (std::uint32_t k = kLanes; k < n_padded; k += kLanes)
    running = V::max(running, V::load(scores + k));
  max = V::max_lanes(running);
  V::F partial = V::set(0.0F);
  for (std::uint32_t k = 0; k < n_padded; k += kLanes) {
    const V::F weight = exp_lanes(V::sub(V::load(scores + k), V::set(max)));
    partial = V::add(partial, weight);
    if constexpr (kHasScales<Element>) {
      V::store(scores + k, V::mul(weight, V::load(value_scales_of(blocks[k / kLanes], d_head))));
    } else {
      V::store(scores + k, weight);
    }
  }
  sum = V::sum_lanes(partial);
}

/// Up to kTile queries over one key block, of which each sees a key at least.
struct TileBlock {
  const float* queries;               // [d_head][kTile]
  const std::uint32_t* n_valid_keys;  // [n]
  std::uint32_t n;
  std::uint32_t d_head;
  float scale;
  const std::byte* const* blocks;  // from the key block's first on
  bool reads_ahead;                // few queries: memory is what they wait for
  std::uint32_t n_next;            // blocks of the next key block to ask for, 0 to 8
  std::uint32_t key_begin;
  float* scores;  // [kTile][kKeyBlock], scratch

  std::uint32_t n_valid(std::uint32_t q) const {
    const std::uint32_t n_here = n_valid_keys[q] - key_begin;
    return n_here < kKeyBlock ? n_here : kKeyBlock;
  }
};

template <class Element>
inline void score_tile(const TileBlock& t) {
  const std::uint32_t n_groups = (t.n_valid(t.n - 1) + kLanes - 1) / kLanes;
  auto score = [&]<int NQ>(std::uint32_t q) {
    constexpr std::uint32_t kAtOnce = n_at_once(NQ);
    float* scores = t.scores + q * kKeyBlock;
    std::uint32_t g = 0;
    for (; g + kAtOnce <= n_groups; g += kAtOnce) {
      for (std::uint32_t i = g; t.reads_ahead && i < g + kAtOnce; ++i)
        prefetch_values<Element>(t.blocks[i], t.d_head);
      score_keys<Element, NQ, kAtOnce>(t.blocks + g, t.queries + q, t.d_head, t.scale,
                                       scores + g * kLanes);
    }
    for (; g < n_groups; ++g)
      score_keys<Element, NQ, 1>(t.blocks + g, t.queries + q, t.d_head, t.scale,
                                 scores + g * kLanes);
  };
  for_queries<kTile>(0, t.n, score);
}

template <class Element>
inline void weigh_tile(const TileBlock& t, float* out) {
  auto weigh = [&]<int NQ>(std::uint32_t q) {
    constexpr std::uint32_t kAtOnce = n_at_once(NQ);
    const std::uint32_t n_common = t.n_valid(q);  // ascending: the first query sees least
    const float* weights = t.scores + q * kKeyBlock;
    std::uint32_t n_next = t.n_next;
    const std::byte* const* next = t.blocks + kKeyBlock / kLanes;
    std::uint32_t d = 0;
    for (; d + kAtOnce * kLanes <= t.d_head; d += kAtOnce * kLanes, n_next = 0)
      weigh_values<Element, NQ, kAtOnce>(t.blocks, t.d_head, d, n_common, weights,
                                         out + q * t.d_head, next, n_next);
    for (; d < t.d_head; d += kLanes, n_next = 0)
      weigh_values<Element, NQ, 1>(t.blocks, t.d_head, d, n_common, weights, out + q * t.d_head,
                                   next, n_next);
    for (std::uint32_t i = q + 1; i < q + NQ; ++i)
      weigh_more_values<Element>(t.blocks, t.d_head, n_common, t.n_valid(i),
                                 t.scores + i * kKeyBlock, out + i * t.d_head);
  };
  for_queries<kTile>(0, t.n, weigh);
}

template <class Element>
inline void attend_block(const TileBlock& t, const Partial& result) {
  score_tile<Element>(t);
  for (std::uint32_t q = 0; q < t.n; ++q)
    softmax_block<Element>(t.blocks, t.d_head, t.scores + q * kKeyBlock, t.n_valid(q),
                           result.max[q], result.sum[q]);
  weigh_tile<Element>(t, result.out);
}

/// state, outputs <- the merge of what was before with one more block, of n <= kTile queries.
inline void merge_block(float* state_max, float* state_sum, float* const* outputs,
                        const Partial& block, std::uint32_t n, std::uint32_t d_head) {
  for (std::uint32_t begin = 0; begin < n; begin += kLanes) {
    const std::uint32_t n_here = n - begin < kLanes ? n - begin : kLanes;
    alignas(64) float lanes[6][kLanes] = {};  // max and sum before, of the block; their factors
    std::memcpy(lanes[0], state_max + begin, n_here * sizeof(float));
    std::memcpy(lanes[1], state_sum + begin, n_here * sizeof(float));
    std::memcpy(lanes[2], block.max + begin, n_here * sizeof(float));
    std::memcpy(lanes[3], block.sum + begin, n_here * sizeof(float));
    const V::F max = V::max(V::load(lanes[0]), V::load(lanes[2]));
    const V::F before = exp_lanes(V::sub(V::load(lanes[0]), max));
    const V::F now = exp_lanes(V::sub(V::load(lanes[2]), max));
    V::store(lanes[0], max);
    V::store(lanes[1], V::fma(V::load(lanes[1]), before, V::mul(V::load(lanes[3]), now)));
    V::store(lanes[4], before);
    V::store(lanes[5], now);
    std::memcpy(state_max + begin, lanes[0], n_here * sizeof(float));
    std::memcpy(state_sum + begin, lanes[1], n_here * sizeof(float));
    for (std::uint32_t q = 0; q < n_here; ++q) {
      float* out = outputs[begin + q];
      const float* block_out = block.out + (begin + q) * d_head;
      const V::F f_before = V::set(lanes[4][q]);
      const V::F f_now = V::set(lanes[5][q]);
      for (std::uint32_t d = 0; d < d_head; d += kLanes)
        V::store(out + d,
                 V::fma(V::load(out + d), f_before, V::mul(V::load(block_out + d), f_now)));
    }
  }
}

/// The same for the first block: there is nothing before.
inline void begin_merge(float* state_max, float* state_sum, float* const* outputs,
                        const Partial& block, std::uint32_t n, std::uint32_t d_head) {
  std::memcpy(state_max, block.max, n * sizeof(float));
  std::memcpy(state_sum, block.sum, n * sizeof(float));
  for (std::uint32_t q = 0; q < n; ++q)
    std::memcpy(outputs[q], block.out + q * d_head, d_head * sizeof(float));
}

inline void divide_by_sums(const AttentionTile& tile, const float* sums) {
  for (std::uint32_t q = 0; q < tile.n_queries; ++q) {
    const V::F inverse = V::set(1.0F / sums[q]);
    float* out = tile.outputs[q];
    for (std::uint32_t d = 0; d < tile.d_head; d += kLanes)
      V::store(out + d, V::mul(V::load(out + d), inverse));
  }
}

/// Calls fn(key block, first query, queries, TileBlock) for the tiles of queries that see something of each key block
/// in [kb_begin, kb_end), block by block.
template <class Element, class Fn>
inline void for_tile_blocks(const AttentionTile& tile, std::uint32_t kb_begin, std::uint32_t kb_end,
                            Fn&& fn) {
  float* scores = tile.scratch;  // [kTile][kKeyBlock], then [n_queries / kTile][d_head][kTile]
  float* queries = scores + kTile * kKeyBlock;
  for (std::uint32_t q = 0; q < tile.n_queries; ++q) {
    float* column = queries + q / kTile * kTile * tile.d_head + q % kTile;
    for (std::uint32_t d = 0; d < tile.d_head; ++d) column[d * kTile] = tile.queries[q][d];
  }
  const bool reads_ahead = tile.n_queries <= kTile;
  const std::uint32_t n_blocks = (tile.n_valid_keys[tile.n_queries - 1] + kLanes - 1) / kLanes;
  const auto n_blocks_of = [&](std::uint32_t kb) {
    const std::uint32_t begin = kb * (kKeyBlock / kLanes);
    if (kb >= kb_end || begin >= n_blocks) return 0U;
    return std::min(n_blocks - begin, kKeyBlock / kLanes);
  };
  for (std::uint32_t kb = kb_begin; kb < kb_end; ++kb) {
    for (std::uint32_t q = 0; q < tile.n_queries; q += kTile) {
      const std::uint32_t end = tile.n_queries - q < kTile ? tile.n_queries : q + kTile;
      std::uint32_t first = q;
      while (first < end && tile.n_valid_keys[first] <= kb * kKeyBlock) ++first;
      if (first == end) continue;
      const std::byte* const* blocks = tile.kv_blocks + kb * (kKeyBlock / kLanes);
      fn(kb, first,
         TileBlock{.queries = queries + q * tile.d_head + (first - q),
                   .n_valid_keys = tile.n_valid_keys + first,
                   .n = end - first,
                   .d_head = tile.d_head,
                   .scale = tile.scale,
                   .blocks = blocks,
                   .reads_ahead = reads_ahead,
                   .n_next = reads_ahead ? n_blocks_of(kb + 1) : 0,
                   .key_begin = kb * kKeyBlock,
                   .scores = scores});
    }
  }
}

template <class Element>
void attention(const AttentionTile& tile) {
  float state_max[kMaxTileQueries], state_sum[kMaxTileQueries];
  float block_max[kTile], block_sum[kTile];
  float* block_out =
      tile.scratch + kTile * kKeyBlock + (tile.n_queries + kTile - 1) / kTile * kTile * tile.d_head;
  const Partial block{block_max, block_sum, block_out};
  const std::uint32_t n_key_blocks =
      (tile.n_valid_keys[tile.n_queries - 1] + kKeyBlock - 1) / kKeyBlock;
  for_tile_blocks<Element>(
      tile, 0, n_key_blocks, [&](std::uint32_t kb, std::uint32_t q, const TileBlock& t) {
        attend_block<Element>(t, block);
        (kb == 0 ? begin_merge : merge_block)(state_max + q, state_sum + q, tile.outputs + q, block,
                                              t.n, t.d_head);
      });
  divide_by_sums(tile, state_sum);
}

/// Where attention_part() leaves what it finds in one key block, and merge_parts() reads it.
inline Partial part_of(float* parts, const AttentionTile& tile, std::uint32_t kb) {
  const std::size_t n = tile.n_queries;
  float* part = parts + kb * n * (2 + tile.d_head);
  return {part, part + n, part + 2 * n};
}

template <class Element>
void attention_part(const AttentionTile& tile, std::uint32_t kb_begin, std::uint32_t kb_end,
                    float* parts) {
  for_tile_blocks<Element>(
      tile, kb_begin, kb_end, [&](std::uint32_t kb, std::uint32_t q, const TileBlock& t) {
        const Partial all = part_of(parts, tile, kb);
        attend_block<Element>(t, {all.max + q, all.sum + q, all.out + q * t.d_head});
      });
}

void merge_parts(const AttentionTile& tile, float* parts) {
  float state_max[kMaxTileQueries], state_sum[kMaxTileQueries];
  const std::uint32_t n_key_blocks =
      (tile.n_valid_keys[tile.n_queries - 1] + kKeyBlock - 1) / kKeyBlock;
  for (std::uint32_t kb = 0; kb < n_key_blocks; ++kb) {
    std::uint32_t first = 0;
    while (tile.n_valid_keys[first] <= kb * kKeyBlock) ++first;
    const Partial all = part_of(parts, tile, kb);
    const Partial seen{all.max + first, all.sum + first, all.out + first * tile.d_head};
    (kb == 0 ? begin_merge : merge_block)(state_max + first, state_sum + first,
                                          tile.outputs + first, seen, tile.n_queries - first,
                                          tile.d_head);
  }
  divide_by_sums(tile, state_sum);
}
