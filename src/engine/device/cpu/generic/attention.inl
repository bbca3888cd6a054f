// Attention of a tile of queries over the key/value blocks of one sequence and one key/value head.
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// Numerics (DESIGN rule 5): a score sums over d in order, a lane being a key. Key blocks are 128 keys from absolute
// position 0; each block's (max, sum, output) starts from nothing; blocks merge in ascending order by merge_block().
// Masked lanes have weight exactly 0 and the loop over values stops at the last valid key, so neither what a chunk
// holds nor what lies behind a sequence's end can change a bit.

inline constexpr std::uint32_t kKeyBlock = 128;
inline constexpr std::uint32_t kLanes = 16;

/// scores[q][key0 + lane] for NQ queries against the 16 keys of one block.
template <class Element, int NQ>
inline void score_keys(const Element* keys, const float* const* queries, std::uint32_t d_head,
                       float scale, float* scores, std::uint32_t key0) {
  V::F acc[NQ];
  DW_UNROLL for (int q = 0; q < NQ; ++q) acc[q] = V::set(0.0F);
  for (std::uint32_t d = 0; d < d_head; ++d) {
    const V::F k = V::load_weights(keys + d * kLanes);
    DW_UNROLL for (int q = 0; q < NQ; ++q) acc[q] = V::fma(V::set(queries[q][d]), k, acc[q]);
  }
  DW_UNROLL for (int q = 0; q < NQ; ++q) {
    V::store(scores + static_cast<std::uint32_t>(q) * kKeyBlock + key0,
             V::mul(acc[q], V::set(scale)));
  }
}

/// out[q][0..15] (+)= sum over keys [first, last) of weights[q][key] · value[key], in order.
template <class Element, int NQ>
inline void weigh_values(const std::byte* const* kv, std::uint32_t d_head, std::uint32_t d,
                         std::uint32_t first, std::uint32_t last, const float* weights,
                         float* const* out) {
  V::F acc[NQ];
  DW_UNROLL for (int q = 0; q < NQ; ++q) acc[q] = V::load(out[q] + d);
  for (std::uint32_t key = first; key < last; ++key) {
    const auto* block = reinterpret_cast<const Element*>(kv[key / kLanes]);
    const V::F v = V::load_weights(block + kLanes * d_head + (key % kLanes) * d_head + d);
    DW_UNROLL for (int q = 0; q < NQ; ++q) {
      acc[q] = V::fma(V::set(weights[static_cast<std::uint32_t>(q) * kKeyBlock + key]), v, acc[q]);
    }
  }
  DW_UNROLL for (int q = 0; q < NQ; ++q) V::store(out[q] + d, acc[q]);
}

template <class Fn>
inline void for_query_tiles(std::uint32_t n, Fn&& fn) {
  std::uint32_t q = 0;
  for (; q + V::kQueryTile <= n; q += V::kQueryTile) fn.template operator()<V::kQueryTile>(q);
  if constexpr (V::kQueryTile > 4) {
    if (q + 4 <= n) fn.template operator()<4>(q), q += 4;
  }
  if constexpr (V::kQueryTile > 2) {
    if (q + 2 <= n) fn.template operator()<2>(q), q += 2;
  }
  for (; q < n; ++q) fn.template operator()<1>(q);
}

struct AttentionState {  // of one query, over the key blocks so far
  float max;
  float sum;
};

/// Turns one query's scores of a block into weights exp(score - max), zero from n_valid on. Returns (max, sum).
inline AttentionState softmax_block(float* scores, std::uint32_t n_valid) {
  const std::uint32_t n_padded = (n_valid + kLanes - 1) / kLanes * kLanes;
  for (std::uint32_t k = n_valid; k < n_padded; ++k)
    scores[k] = -std::numeric_limits<float>::infinity();
  V::F running = V::load(scores);
  for (std::uint32_t k = kLanes; k < n_padded; k += kLanes)
    running = V::max(running, V::load(scores + k));
  const float max = max_lanes(running);
  V::F partial = V::set(0.0F);
  for (std::uint32_t k = 0; k < n_padded; k += kLanes) {
    const V::F weight = exp_lanes(V::sub(V::load(scores + k), V::set(max)));
    V::store(scores + k, weight);
    partial = V::add(partial, weight);
  }
  return {max, sum_lanes(partial)};
}

/// state, out <- the merge of what was before with one block's (max, sum, output).
inline void merge_block(AttentionState& state, float* out, const AttentionState& block,
                        const float* block_out, std::uint32_t d_head) {
  const float max = state.max > block.max ? state.max : block.max;
  const V::F before = exp_lanes(V::set(state.max - max));
  const V::F now = exp_lanes(V::set(block.max - max));
  for (std::uint32_t d = 0; d < d_head; d += kLanes) {
    V::store(out + d, V::fma(V::load(out + d), before, V::mul(V::load(block_out + d), now)));
  }
  alignas(64) float factor_before[16], factor_now[16];
  V::store(factor_before, before);
  V::store(factor_now, now);
  state.sum = V::fma1(state.sum, factor_before[0], block.sum * factor_now[0]);
  state.max = max;
}

/// Scores, weights and output of all queries over key block `kb`; queries that see none of it are left out.
template <class Element>
void attend_block(const AttentionTile& tile, std::uint32_t kb, std::uint32_t first_query,
                  float* scores, float* const* block_out, AttentionState* block_state) {
  const std::uint32_t begin = kb * kKeyBlock;
  const auto valid = [&](std::uint32_t q) {
    const std::uint32_t n = tile.n_valid_keys[q] - begin;
    return n < kKeyBlock ? n : kKeyBlock;
  };
  const std::uint32_t n_queries = tile.n_queries - first_query;
  const std::byte* const* kv = tile.kv_blocks + begin / kLanes;
  const std::uint32_t n_most = valid(tile.n_queries - 1);
  for (std::uint32_t key0 = 0; key0 < n_most; key0 += kLanes) {
    for_query_tiles(n_queries, [&]<int NQ>(std::uint32_t q) {
      score_keys<Element, NQ>(reinterpret_cast<const Element*>(kv[key0 / kLanes]),
                              tile.queries + first_query + q, tile.d_head, tile.scale,
                              scores + q * kKeyBlock, key0);
    });
  }
  for (std::uint32_t q = 0; q < n_queries; ++q) {
    block_state[q] = softmax_block(scores + q * kKeyBlock, valid(first_query + q));
    for (std::uint32_t d = 0; d < tile.d_head; d += kLanes)
      V::store(block_out[q] + d, V::set(0.0F));
  }
  for_query_tiles(n_queries, [&]<int NQ>(std::uint32_t q) {
    const std::uint32_t n_common =
        valid(first_query + q);  // ascending: the tile's first query sees least
    for (std::uint32_t d = 0; d < tile.d_head; d += kLanes) {
      weigh_values<Element, NQ>(kv, tile.d_head, d, 0, n_common, scores + q * kKeyBlock,
                                block_out + q);
      for (std::uint32_t i = q; i < q + NQ; ++i) {
        weigh_values<Element, 1>(kv, tile.d_head, d, n_common, valid(first_query + i),
                                 scores + i * kKeyBlock, block_out + i);
      }
    }
  });
}

template <class Element>
void attention(const AttentionTile& tile) {
  float* scores = tile.scratch;  // [n_queries][kKeyBlock], then [n_queries][d_head]
  float* outputs = scores + static_cast<std::size_t>(tile.n_queries) * kKeyBlock;
  float* block_out[kMaxTileQueries];
  AttentionState state[kMaxTileQueries];
  AttentionState block_state[kMaxTileQueries];
  const std::uint32_t n_key_blocks =
      (tile.n_valid_keys[tile.n_queries - 1] + kKeyBlock - 1) / kKeyBlock;
  for (std::uint32_t kb = 0; kb < n_key_blocks; ++kb) {
    std::uint32_t first = 0;
    while (tile.n_valid_keys[first] <= kb * kKeyBlock) ++first;
    const std::uint32_t n = tile.n_queries - first;
    for (std::uint32_t q = 0; q < n; ++q) {
      block_out[q] =
          kb == 0 ? tile.outputs[q] : outputs + static_cast<std::size_t>(q) * tile.d_head;
    }
    attend_block<Element>(tile, kb, first, scores, block_out, kb == 0 ? state : block_state);
    for (std::uint32_t q = 0; kb > 0 && q < n; ++q) {
      merge_block(state[first + q], tile.outputs[first + q], block_state[q], block_out[q],
                  tile.d_head);
    }
  }
  for (std::uint32_t q = 0; q < tile.n_queries; ++q) {
    const V::F inverse = V::set(1.0F / state[q].sum);
    float* out = tile.outputs[q];
    for (std::uint32_t d = 0; d < tile.d_head; d += kLanes)
      V::store(out + d, V::mul(V::load(out + d), inverse));
  }
}
