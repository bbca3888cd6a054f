// The AMX-INT8 kernels: AVX-512's, but many tokens multiply by matrix tiles.
#include "engine/device/cpu/kernel_includes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

DW_TARGET_BEGIN("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")

namespace deepwell::engine::amx {

#include "engine/device/cpu/avx512_vector.inl"

struct V : Avx512 {
  static constexpr Isa kIsa = Isa::kAmx;
  static constexpr bool kHasTiles = true;
  template <class Type>
  static B as_int8(B codes) {
    return sub_bytes(codes, Type::kOffset);
  }
};

#include "engine/device/cpu/generic/panel.inl"

constexpr std::uint32_t kTileTokens = Q8Tile::kTokens;
constexpr int kTiles = 4;                   // for results
constexpr std::uint32_t kFewestInTile = 5;  // fewer tokens are faster without

/// What LDTILECFG reads (Intel SDM, volume 1, 18.2).
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t n_column_bytes[16] = {};
  std::uint8_t n_rows[16] = {};
};

/// Tiles 0-3: int32 results, 16 tokens x 16 outputs. Tiles 4-5: 16 tokens x 32 inputs. Tiles 6-7: 32 inputs x 16
/// outputs, four inputs interleaved, which is how a row group is packed.
inline void configure_tiles() {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.n_rows[t] = t < 6 ? kTileTokens : kQ8BlockLen / 4;
    config.n_column_bytes[t] = t == 4 || t == 5 ? kQ8BlockLen : 64;
  }
  asm volatile("" : : "r"(&config) : "memory");  // g++ 12 believes that LDTILECFG reads eight bytes
  _tile_loadconfig(&config);
}

/// results[i] [16 tokens][16 outputs] = the exact products of span first + i, i < kSpans.
template <int kSpans>
inline void multiply_spans(const Panel& panel, const Q8Tile* a, std::size_t first,
                           std::int32_t* results) {
  static_assert(kSpans == 1 || kSpans == kTiles);
  a += first;
  const std::uint8_t* w = panel.codes + first * 512;
  // The intrinsics take a tile's number as it stands.
  _tile_zero(0);
  _tile_loadd(4, a[0].q, kQ8BlockLen);
  _tile_loadd(6, w, 64);
  _tile_dpbssd(0, 4, 6);
  if constexpr (kSpans == kTiles) {
    _tile_zero(1);
    _tile_loadd(5, a[1].q, kQ8BlockLen);
    _tile_loadd(7, w + 512, 64);
    _tile_dpbssd(1, 5, 7);
    _tile_zero(2);
    _tile_loadd(4, a[2].q, kQ8BlockLen);
    _tile_loadd(6, w + 1024, 64);
    _tile_dpbssd(2, 4, 6);
    _tile_zero(3);
    _tile_loadd(5, a[3].q, kQ8BlockLen);
    _tile_loadd(7, w + 1536, 64);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, results, 64);
  if constexpr (kSpans == kTiles) {
    _tile_stored(1, results + 256, 64);
    _tile_stored(2, results + 512, 64);
    _tile_stored(3, results + 768, 64);
  }
}

/// acc[t] + span s · token t, from the exact products.
template <class Type>
inline void add_results(const Panel& panel, const Q8Tile& a, std::size_t s,
                        const std::int32_t* results, V::F (&acc)[kTileTokens]) {
  const V::F scale = V::load(panel.scales + s * 16);
  DW_UNROLL for (std::uint32_t t = 0; t < kTileTokens; ++t) {
    const V::F dot = V::to_float(_mm512_load_si512(results + 16 * t));
    acc[t] = V::fma(V::mul(scale, V::set(a.d[t])), dot, acc[t]);
  }
  if constexpr (Type::kHasMin) {
    const V::F min = V::load(panel.minima + s * 16);
    DW_UNROLL for (std::uint32_t t = 0; t < kTileTokens; ++t) acc[t] =
        V::fma(min, V::set(a.d_sum[t]), acc[t]);
  }
}

/// The first n of a tile whose other rows nobody wants.
[[gnu::noinline]] void store_first(const V::F (&acc)[kTileTokens], std::size_t n, float* out,
                                   std::size_t out_stride, const Epilogue& epilogue) {
  for (std::size_t t = 0; t < n; ++t) store_row(acc[t], out + t * out_stride, epilogue);
}

template <class Type>
[[gnu::noinline]] void multiply_panel_tile(const Panel& panel, const ProductQ8& p,
                                           std::size_t token, NextGroup& next) {
  alignas(64) std::int32_t buffers[2][kTiles * 256];
  const Q8Tile* a = p.tiles + token / kTileTokens * panel.n_spans;
  V::F acc[kTileTokens];
  DW_UNROLL for (std::uint32_t t = 0; t < kTileTokens; ++t) acc[t] = V::set(0.0F);
  const std::size_t n_batches = panel.n_spans / kTiles;
  if (n_batches > 0) multiply_spans<kTiles>(panel, a, 0, buffers[0]);
  for (std::size_t batch = 0; batch < n_batches; ++batch) {
    next.fetch_some();
    // The tiles work on the next batch while the vectors scale this one.
    if (batch + 1 < n_batches)
      multiply_spans<kTiles>(panel, a, (batch + 1) * kTiles, buffers[(batch + 1) % 2]);
    for (std::size_t i = 0; i < kTiles; ++i) {
      const std::size_t s = batch * kTiles + i;
      add_results<Type>(panel, a[s], s, buffers[batch % 2] + i * 256, acc);
    }
  }
  for (std::size_t s = n_batches * kTiles; s < panel.n_spans; ++s) {
    multiply_spans<1>(panel, a, s, buffers[0]);
    add_results<Type>(panel, a[s], s, buffers[0], acc);
  }
  float* out = p.out + token * p.out_stride;
  if (token + kTileTokens <= p.n_tokens) {
    store_tile<kTileTokens>(acc, out, p.out_stride, p.epilogue);
  } else {
    V::F rest[kTileTokens];  // a copy: `acc` stays in registers
    DW_UNROLL for (std::uint32_t t = 0; t < kTileTokens; ++t) rest[t] = acc[t];
    store_first(rest, p.n_tokens - token, out, p.out_stride, p.epilogue);
  }
}

template <class Type>
std::uint32_t multiply_panel_tiles(const Panel& panel, const ProductQ8& p) {
  configure_tiles();
  const std::uint32_t n_rest = p.n_tokens % kTileTokens;
  const std::uint32_t n_done = p.n_tokens - (n_rest < kFewestInTile ? n_rest : 0);
  NextGroup next =
      next_group<Type>(p, ((n_done + kTileTokens - 1) / kTileTokens) * (panel.n_spans / kTiles));
  for (std::uint32_t t = 0; t < n_done; t += kTileTokens)
    multiply_panel_tile<Type>(panel, p, t, next);
  _tile_release();  // the system need not save what nobody uses
  return n_done;
}

#include "engine/device/cpu/generic/panel_vector.inl"

#include "engine/device/cpu/generic/all.inl"

}  // namespace deepwell::engine::amx

DW_TARGET_END
#endif
