// KernelTable: the CPU device's inner loops, one table per instruction set, all giving the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device/cpu/isa.hpp"
#include "engine/device/cpu/q8_block.hpp"
#include "engine/device/device.hpp"
#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// A tile of attention work: queries of consecutive rows of one sequence that share one key/value head.
struct AttentionTile {
  const float* const* queries;        // [n_queries] each [d_head] f32, in row order
  float* const* outputs;              // [n_queries] each [d_head] f32
  const std::uint32_t* n_valid_keys;  // [n_queries] keys 0..n-1 are seen; never 0, ascending
  std::uint32_t n_queries;
  std::uint32_t d_head;
  float scale;
  const std::byte* const*
      kv_blocks;   // [ceil(max valid / 16)] K as [d_head][16], then V as [16][d_head]
  float* scratch;  // attention_scratch_floats()
};

/// Floats of scratch that a tile needs.
std::size_t attention_scratch_floats(std::uint32_t n_queries, std::uint32_t d_head);

/// Floats of a key block's part: for each query a maximum, a sum and an output.
constexpr std::size_t attention_part_floats(std::uint32_t n_queries, std::uint32_t d_head) {
  return static_cast<std::size_t>(n_queries) * (2 + d_head);
}

inline constexpr std::uint32_t kKeyBlockTok =
    128;  // keys whose weights share a maximum (DESIGN rule 5)
inline constexpr std::uint32_t kMaxTileQueries = 128;

/// What happens to a finished dot product v of output o: out = v (+ bias[o]) (+ out).
struct Epilogue {
  const float* bias = nullptr;  // [16] of this row group, or none
  bool is_added = false;
};

/// One packed row group (16 outputs) times n_tokens rows of activations: out[t·out_stride + 0..15].
template <class Element>
struct Product {
  const std::byte* group;
  const Element* act;      // [n_tokens] rows
  std::size_t act_stride;  // elements from row to row
  std::uint32_t n_tokens;
  std::uint32_t n_in;
  float* out;
  std::size_t out_stride;
  Epilogue epilogue = {};
  std::byte* scratch = nullptr;  // panel_bytes(n_in), aligned to 64; none: always token by token
  // The same activations for matrix tiles, [n_tokens/16][n_in/32]; none: vectors multiply.
  const Q8Tile* tiles = nullptr;
};
using ProductQ8 = Product<Q8Block>;  // quantised weights
using ProductF32 = Product<float>;   // float weights
using GemmQ8 = void (*)(const ProductQ8& product);
using GemmF32 = void (*)(const ProductF32& product);

/// Scratch in which a row group is unpacked for many tokens: codes, two scales and two minima for each 32 inputs.
constexpr std::size_t panel_bytes(std::uint32_t n_in) {
  return static_cast<std::size_t>(n_in / kQ8BlockLen) * (512 + 4 * 16 * sizeof(float));
}

struct KernelTable {
  Isa isa;
  bool has_tiles;  // whether Product::tiles is read

  GemmQ8 (*gemm_q8)(QuantType type);    // null if the type's weights are floats
  GemmF32 (*gemm_f32)(QuantType type);  // null if the type's weights are quantised

  /// x [n] f32 -> blocks [ceil(n/32)]; the tail of the last block is zero.
  void (*quantise)(const float* x, std::uint32_t n, Q8Block* blocks);
  /// y = x · (1/sqrt(mean(x²) + eps)) · gain
  void (*rms_norm)(const float* x, const float* gain, std::uint32_t n, float eps, float* y);
  /// y = silu(gate) · up
  void (*swiglu)(const float* gate, const float* up, std::uint32_t n, float* y);
  /// Rotates one head's first d_rope dimensions in place; cos_sin is [d_rope/2][2].
  void (*rope)(float* head, std::uint32_t d_rope, bool is_interleaved, const float* cos_sin);
  /// Writes one token's key and value into its lane of a block, and attention over blocks; [KvType].
  void (*store_kv[kNumKvTypes])(const float* k, const float* v, std::uint32_t d_head,
                                std::uint32_t lane, std::byte* block);
  void (*attention[kNumKvTypes])(const AttentionTile& tile);
  /// The same in parts that several threads can compute: each key block (128 keys) of [begin, end) leaves what it finds
  /// in `parts`, and when all have, merge_parts() makes the output. `parts` is attention_part_floats() a key block.
  void (*attention_part[kNumKvTypes])(const AttentionTile& tile, std::uint32_t key_block_begin,
                                      std::uint32_t key_block_end, float* parts);
  void (*merge_parts)(const AttentionTile& tile, float* parts);
};

/// The table of an instruction set that supported_isas() lists.
const KernelTable& kernel_table(Isa isa);

namespace scalar {
extern const KernelTable kKernels;
}
namespace avx2 {
extern const KernelTable kKernels;
}
namespace avxvnni {
extern const KernelTable kKernels;
}
namespace avx512 {
extern const KernelTable kKernels;
}
namespace amx {
extern const KernelTable kKernels;
}

}  // namespace deepwell::engine
