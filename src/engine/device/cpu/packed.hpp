// The one weight layout of the CPU family: 16 output rows interleaved, so that a vector lane is an output row.
//
// Inside a block of 32 inputs, value k of row r is byte ((k/4)·16 + r)·4 + k%4: sixty-four bytes hold four
// consecutive inputs of sixteen rows. Four-bit values pair group g (inputs 4g..4g+3) in the low nibble with group
// g+4 in the high nibble. A matrix is ceil(n_out/16) row groups, each with n_in/block packed blocks in a row;
// missing rows of the last group have zero scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/quant/types.hpp"

namespace deepwell::engine {

inline constexpr std::uint32_t kRowGroup = 16;

struct PackedQ8_0 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t q[512];  // value + 128
};

struct PackedQ4_1 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint16_t m[16];  // f16, added as stored
  std::uint8_t q[256];  // 0..15
};

struct PackedQ5_0 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t h[64];   // bit g of byte b: fifth bit of byte b of group g
  std::uint8_t q[256];  // low four bits of value + 16
};

struct PackedQ4_K {  // 256 inputs: 8 spans of 32
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16, times scale
  std::uint16_t dmin[16];     // f16, times min
  std::uint8_t scale[8][16];  // 0..63
  std::uint8_t min[8][16];    // 0..63, subtracted
  std::uint8_t q[8][256];     // 0..15
};

struct PackedQ6_K {  // 256 inputs: 8 spans of 32, two scales each
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16
  std::int8_t scale[16][16];  // per 16 inputs
  std::uint8_t low[8][256];   // low four bits of value + 32
  std::uint8_t
      high[8][128];  // two high bits: byte b of half i, bits 2j..2j+1, belongs to group 4i + j
};

/// Float weights: [n_in][16] per row group. The element type is that of the file.
template <class Element>
struct PackedFloat {
  static constexpr std::uint32_t kInputs = 1;
  Element w[16];
};

static_assert(sizeof(PackedQ8_0) == 16 * 34 && sizeof(PackedQ4_1) == 16 * 20 &&
              sizeof(PackedQ5_0) == 16 * 22);
static_assert(sizeof(PackedQ4_K) == 16 * 144 + 64 && sizeof(PackedQ6_K) == 16 * 210);

/// Inputs and bytes of one packed block of 16 rows.
struct PackedShape {
  std::uint32_t n_inputs;
  std::uint32_t n_bytes;
};

/// Whether the CPU kernels read this type, and how it is packed.
bool has_packed_layout(QuantType type);
PackedShape packed_shape(QuantType type);

/// Bytes of one packed row group of n_in inputs.
std::size_t packed_group_bytes(QuantType type, std::uint32_t n_in);

/// Packs rows [first_row, first_row + 16) of a row-major GGUF matrix into one row group; rows from n_out on are
/// padding. `row_bytes` is the stride of the source.
void pack_row_group(QuantType type, const std::byte* matrix, std::size_t row_bytes,
                    std::uint32_t n_out, std::uint32_t n_in, std::uint32_t first_row,
                    std::byte* group);

/// Decodes one row (0..15) of a packed group to f32: what a tied embedding reads. Equals the file's own decoding.
void unpack_row(QuantType type, const std::byte* group, std::uint32_t n_in, std::uint32_t row,
                float* out);

}  // namespace deepwell::engine
