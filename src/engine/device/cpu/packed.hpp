// The one weight layout of the CPU family: 16 output rows interleaved, so that a vector lane is an output row.
//
// Inside a block of 32 inputs, value k of row r is byte ((k/4)·16 + r)·4 + k%4: sixty-four bytes hold a group, four
// consecutive inputs of sixteen rows, and inputs 4g..4g+3 are group g. Where a code has fewer than eight bits, the
// bits of several groups share a byte, so that shifts and masks take them apart:
//   nibbles  256 bytes  group g in the low half, group g+4 in the high half, g < 4
//   pairs    128 bytes  bits 2j..2j+1 of half i belong to group 4i + j
//   bits      64 bytes  bit g belongs to group g
// A matrix is ceil(n_out/16) row groups, each with n_in/block packed blocks in a row; missing rows of the last group
// have zero scales.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/quant/types.hpp"

namespace deepwell::engine {

inline constexpr std::uint32_t kRowGroup = 16;

struct PackedQ4_0 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t q[256];  // nibbles: value + 8
};

struct PackedQ4_1 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint16_t m[16];  // f16, added as stored
  std::uint8_t q[256];  // nibbles: 0..15
};

struct PackedQ5_0 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t h[64];   // bits: the fifth of value + 16
  std::uint8_t q[256];  // nibbles: the low four
};

struct PackedQ5_1 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint16_t m[16];  // f16, added as stored
  std::uint8_t h[64];   // bits: the fifth of 0..31
  std::uint8_t q[256];  // nibbles: the low four
};

struct PackedQ8_0 {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t q[512];  // value + 128
};

struct PackedIQ4_NL {  // 32 inputs
  static constexpr std::uint32_t kInputs = 32;
  std::uint16_t d[16];  // f16
  std::uint8_t q[256];  // nibbles: which of kIq4Values
};

// The K types: 256 inputs, 8 spans of 32.

struct PackedQ2_K {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];     // f16, times scale
  std::uint16_t dmin[16];  // f16, times min
  std::uint8_t
      scale_and_min[16][16];  // per 16 inputs: the low nibble and the high, which is subtracted
  std::uint8_t q[8][128];     // pairs: 0..3
};

struct PackedQ3_K {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16
  std::int8_t scale[16][16];  // per 16 inputs, -32..31
  std::uint8_t high[8][64];   // bits: the third of value + 4
  std::uint8_t low[8][128];   // pairs: the low two
};

struct PackedQ4_K {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16, times scale
  std::uint16_t dmin[16];     // f16, times min
  std::uint8_t scale[8][16];  // 0..63
  std::uint8_t min[8][16];    // 0..63, subtracted
  std::uint8_t q[8][256];     // nibbles: 0..15
};

struct PackedQ5_K {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16, times scale
  std::uint16_t dmin[16];     // f16, times min
  std::uint8_t scale[8][16];  // 0..63
  std::uint8_t min[8][16];    // 0..63, subtracted
  std::uint8_t h[8][64];      // bits: the fifth of 0..31
  std::uint8_t q[8][256];     // nibbles: the low four
};

struct PackedQ6_K {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];        // f16
  std::int8_t scale[16][16];  // per 16 inputs
  std::uint8_t low[8][256];   // nibbles: the low four of value + 32
  std::uint8_t high[8][128];  // pairs: the high two
};

struct PackedIQ4_XS {
  static constexpr std::uint32_t kInputs = 256;
  std::uint16_t d[16];       // f16
  std::int8_t scale[8][16];  // -32..31
  std::uint8_t q[8][256];    // nibbles: which of kIq4Values
};

/// Float weights: [n_in][16] per row group. The element type is that of the file.
template <class Element>
struct PackedFloat {
  static constexpr std::uint32_t kInputs = 1;
  Element w[16];
};

// As large as in the file, but for scales of six bits that take eight.
static_assert(sizeof(PackedQ4_0) == 16 * 18 && sizeof(PackedQ4_1) == 16 * 20);
static_assert(sizeof(PackedQ5_0) == 16 * 22 && sizeof(PackedQ5_1) == 16 * 24);
static_assert(sizeof(PackedQ8_0) == 16 * 34 && sizeof(PackedIQ4_NL) == 16 * 18);
static_assert(sizeof(PackedQ2_K) == 16 * 84 && sizeof(PackedQ3_K) == 16 * (110 + 4));
static_assert(sizeof(PackedQ4_K) == 16 * (144 + 4) && sizeof(PackedQ5_K) == 16 * (176 + 4));
static_assert(sizeof(PackedQ6_K) == 16 * 210 && sizeof(PackedIQ4_XS) == 16 * (136 + 2));

/// Inputs and bytes of one packed block of 16 rows.
struct PackedShape {
  std::uint32_t n_inputs;
  std::uint32_t n_bytes;
};

/// Every type has a packed layout.
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
