// Packing of GGUF rows into the interleaved layout, and reading single rows back out of it.
#include <cstring>

#include "base/check.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/quant/blocks.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {

namespace {

// --- where 32 codes of row r lie -------------------------------------------------------------------------------------

/// Input k of row r where a value is a byte.
constexpr std::size_t interleaved(std::uint32_t k, std::uint32_t r) {
  return ((k / 4) * kRowGroup + r) * 4 + k % 4;
}

/// A few bits of input k within the bytes that it shares with other groups.
struct BitsAt {
  std::size_t byte;
  unsigned shift;
};
constexpr BitsAt nibble_at(std::uint32_t k, std::uint32_t r) {
  return {interleaved(k % 16, r), 4 * (k / 16)};
}
constexpr BitsAt pair_at(std::uint32_t k, std::uint32_t r) {
  return {64 * (k / 16) + interleaved(k % 4, r), 2 * (k / 4 % 4)};
}
constexpr BitsAt bit_at(std::uint32_t k, std::uint32_t r) { return {interleaved(k % 4, r), k / 4}; }

void or_into(std::uint8_t* bytes, BitsAt at, unsigned bits) {
  bytes[at.byte] = static_cast<std::uint8_t>(bytes[at.byte] | (bits << at.shift));
}
unsigned nibble(const std::uint8_t* q, std::uint32_t k, std::uint32_t r) {
  const BitsAt at = nibble_at(k, r);
  return (q[at.byte] >> at.shift) & 15U;
}
unsigned pair(const std::uint8_t* q, std::uint32_t k, std::uint32_t r) {
  const BitsAt at = pair_at(k, r);
  return (q[at.byte] >> at.shift) & 3U;
}
unsigned bit(const std::uint8_t* q, std::uint32_t k, std::uint32_t r) {
  const BitsAt at = bit_at(k, r);
  return (q[at.byte] >> at.shift) & 1U;
}

// --- writing ---------------------------------------------------------------------------------------------------------

/// The code of element k, made unsigned by adding `offset`.
template <class Block>
unsigned code(const Block& b, std::uint32_t k, int offset) {
  return static_cast<unsigned>(code_at(b, k) + offset);
}

/// Codes of 32 elements from k0 on, of which the low four bits go to nibbles.
template <class Block>
void put_nibbles(const Block& b, std::uint32_t k0, int offset, std::uint32_t r, std::uint8_t* q) {
  for (std::uint32_t k = 0; k < 32; ++k) or_into(q, nibble_at(k, r), code(b, k0 + k, offset) & 15U);
}
/// The two bits from `from` up go to pairs.
template <class Block>
void put_pairs(const Block& b, std::uint32_t k0, int offset, unsigned from, std::uint32_t r,
               std::uint8_t* q) {
  for (std::uint32_t k = 0; k < 32; ++k)
    or_into(q, pair_at(k, r), (code(b, k0 + k, offset) >> from) & 3U);
}
/// The bit `from` goes to bits.
template <class Block>
void put_bits(const Block& b, std::uint32_t k0, int offset, unsigned from, std::uint32_t r,
              std::uint8_t* q) {
  for (std::uint32_t k = 0; k < 32; ++k)
    or_into(q, bit_at(k, r), (code(b, k0 + k, offset) >> from) & 1U);
}

// put(file block, row, packed block): writes one row's part of a packed block, all zero before.

void put(const BlockQ4_0& b, std::uint32_t r, PackedQ4_0& p) {
  p.d[r] = b.d;
  put_nibbles(b, 0, 8, r, p.q);
}
void put(const BlockQ4_1& b, std::uint32_t r, PackedQ4_1& p) {
  p.d[r] = b.d;
  p.m[r] = b.m;
  put_nibbles(b, 0, 0, r, p.q);
}
void put(const BlockQ5_0& b, std::uint32_t r, PackedQ5_0& p) {
  p.d[r] = b.d;
  put_nibbles(b, 0, 16, r, p.q);
  put_bits(b, 0, 16, 4, r, p.h);
}
void put(const BlockQ5_1& b, std::uint32_t r, PackedQ5_1& p) {
  p.d[r] = b.d;
  p.m[r] = b.m;
  put_nibbles(b, 0, 0, r, p.q);
  put_bits(b, 0, 0, 4, r, p.h);
}
void put(const BlockQ8_0& b, std::uint32_t r, PackedQ8_0& p) {
  p.d[r] = b.d;
  for (std::uint32_t k = 0; k < 32; ++k)
    p.q[interleaved(k, r)] = static_cast<std::uint8_t>(code(b, k, 128));
}
void put(const BlockIQ4NL& b, std::uint32_t r, PackedIQ4_NL& p) {
  p.d[r] = b.d;
  for (std::uint32_t k = 0; k < 32; ++k)
    or_into(p.q, nibble_at(k, r), detail::nibble_of_32(b.qs, k));
}
void put(const BlockQ2K& b, std::uint32_t r, PackedQ2_K& p) {
  p.d[r] = b.d;
  p.dmin[r] = b.dmin;
  for (std::uint32_t j = 0; j < 16; ++j) p.scale_and_min[j][r] = b.scales[j];
  for (std::uint32_t j = 0; j < 8; ++j) put_pairs(b, 32 * j, 0, 0, r, p.q[j]);
}
void put(const BlockQ3K& b, std::uint32_t r, PackedQ3_K& p) {
  p.d[r] = b.d;
  for (std::uint32_t j = 0; j < 16; ++j) p.scale[j][r] = static_cast<std::int8_t>(scale_at(b, j));
  for (std::uint32_t j = 0; j < 8; ++j) {
    put_pairs(b, 32 * j, 4, 0, r, p.low[j]);
    put_bits(b, 32 * j, 4, 2, r, p.high[j]);
  }
}
/// Scales and minima of Q4_K and Q5_K.
template <class Block, class Packed>
void put_scales_and_mins(const Block& b, std::uint32_t r, Packed& p) {
  p.d[r] = b.d;
  p.dmin[r] = b.dmin;
  for (std::uint32_t j = 0; j < 8; ++j) {
    const ScaleMin sm = scale_min_at(b.scales, j);
    p.scale[j][r] = sm.scale;
    p.min[j][r] = sm.min;
  }
}
void put(const BlockQ4K& b, std::uint32_t r, PackedQ4_K& p) {
  put_scales_and_mins(b, r, p);
  for (std::uint32_t j = 0; j < 8; ++j) put_nibbles(b, 32 * j, 0, r, p.q[j]);
}
void put(const BlockQ5K& b, std::uint32_t r, PackedQ5_K& p) {
  put_scales_and_mins(b, r, p);
  for (std::uint32_t j = 0; j < 8; ++j) {
    put_nibbles(b, 32 * j, 0, r, p.q[j]);
    put_bits(b, 32 * j, 0, 4, r, p.h[j]);
  }
}
void put(const BlockQ6K& b, std::uint32_t r, PackedQ6_K& p) {
  p.d[r] = b.d;
  for (std::uint32_t j = 0; j < 16; ++j) p.scale[j][r] = b.scales[j];
  for (std::uint32_t j = 0; j < 8; ++j) {
    put_nibbles(b, 32 * j, 32, r, p.low[j]);
    put_pairs(b, 32 * j, 32, 4, r, p.high[j]);
  }
}
void put(const BlockIQ4XS& b, std::uint32_t r, PackedIQ4_XS& p) {
  p.d[r] = b.d;
  for (std::uint32_t j = 0; j < 8; ++j) {
    p.scale[j][r] = static_cast<std::int8_t>(scale_at(b, j));
    for (std::uint32_t k = 0; k < 32; ++k)
      or_into(p.q[j], nibble_at(k, r), detail::index_of_256(b.qs, 32 * j + k));
  }
}

// --- reading ---------------------------------------------------------------------------------------------------------

// code_of(packed block, k, row): the integer that the scale multiplies.

int code_of(const PackedQ4_0& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(nibble(p.q, k, r)) - 8;
}
int code_of(const PackedQ4_1& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(nibble(p.q, k, r));
}
int code_of(const PackedQ5_0& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(nibble(p.q, k, r) | (bit(p.h, k, r) << 4)) - 16;
}
int code_of(const PackedQ5_1& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(nibble(p.q, k, r) | (bit(p.h, k, r) << 4));
}
int code_of(const PackedQ8_0& p, std::uint32_t k, std::uint32_t r) {
  return p.q[interleaved(k, r)] - 128;
}
int code_of(const PackedIQ4_NL& p, std::uint32_t k, std::uint32_t r) {
  return kIq4Values[nibble(p.q, k, r)];
}
int code_of(const PackedQ2_K& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(pair(p.q[k / 32], k % 32, r));
}
int code_of(const PackedQ3_K& p, std::uint32_t k, std::uint32_t r) {
  const unsigned high = bit(p.high[k / 32], k % 32, r);
  return static_cast<int>(pair(p.low[k / 32], k % 32, r) | (high << 2)) - 4;
}
int code_of(const PackedQ4_K& p, std::uint32_t k, std::uint32_t r) {
  return static_cast<int>(nibble(p.q[k / 32], k % 32, r));
}
int code_of(const PackedQ5_K& p, std::uint32_t k, std::uint32_t r) {
  const unsigned high = bit(p.h[k / 32], k % 32, r);
  return static_cast<int>(nibble(p.q[k / 32], k % 32, r) | (high << 4));
}
int code_of(const PackedQ6_K& p, std::uint32_t k, std::uint32_t r) {
  const unsigned high = pair(p.high[k / 32], k % 32, r);
  return static_cast<int>(nibble(p.low[k / 32], k % 32, r) | (high << 4)) - 32;
}
int code_of(const PackedIQ4_XS& p, std::uint32_t k, std::uint32_t r) {
  return kIq4Values[nibble(p.q[k / 32], k % 32, r)];
}

/// An element is scale · code + offset, as in the file's own decoder; x + -0.0 is x for every x.
struct Affine {
  float scale;
  float offset = -0.0F;
};

// affine_of(packed block, i, row): of the i-th 16 inputs.

template <class Packed>  // Q4_0, Q5_0, Q8_0, IQ4_NL
Affine affine_of(const Packed& p, std::uint32_t, std::uint32_t r) {
  return {f16_to_f32(p.d[r])};
}
Affine affine_of(const PackedQ4_1& p, std::uint32_t, std::uint32_t r) {
  return {f16_to_f32(p.d[r]), f16_to_f32(p.m[r])};
}
Affine affine_of(const PackedQ5_1& p, std::uint32_t, std::uint32_t r) {
  return {f16_to_f32(p.d[r]), f16_to_f32(p.m[r])};
}
Affine affine_of(std::uint16_t d, int scale) { return {f16_to_f32(d) * static_cast<float>(scale)}; }
Affine affine_of(std::uint16_t d, int scale, std::uint16_t dmin, int min) {
  return {f16_to_f32(d) * static_cast<float>(scale), -(f16_to_f32(dmin) * static_cast<float>(min))};
}
Affine affine_of(const PackedQ2_K& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale_and_min[i][r] & 15, p.dmin[r], p.scale_and_min[i][r] >> 4);
}
Affine affine_of(const PackedQ3_K& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale[i][r]);
}
Affine affine_of(const PackedQ4_K& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale[i / 2][r], p.dmin[r], p.min[i / 2][r]);
}
Affine affine_of(const PackedQ5_K& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale[i / 2][r], p.dmin[r], p.min[i / 2][r]);
}
Affine affine_of(const PackedQ6_K& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale[i][r]);
}
Affine affine_of(const PackedIQ4_XS& p, std::uint32_t i, std::uint32_t r) {
  return affine_of(p.d[r], p.scale[i / 2][r]);
}

template <class Packed>
void get(const Packed& p, std::uint32_t r, float* out) {
  for (std::uint32_t i = 0; i < Packed::kInputs / 16; ++i) {
    const Affine affine = affine_of(p, i, r);
    for (std::uint32_t k = 16 * i; k < 16 * (i + 1); ++k)
      out[k] = affine.scale * static_cast<float>(code_of(p, k, r)) + affine.offset;
  }
}

// --- floats ----------------------------------------------------------------------------------------------------------

/// One weight as the file stores it.
template <class Bits, float (*kDecode)(Bits)>
struct FloatBlock {
  Bits bits;
};
float decode_f32(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
using BlockF32 = FloatBlock<std::uint32_t, decode_f32>;
using BlockF16 = FloatBlock<std::uint16_t, f16_to_f32>;
using BlockBF16 = FloatBlock<std::uint16_t, bf16_to_f32>;

template <class Bits, float (*kDecode)(Bits)>
void put(const FloatBlock<Bits, kDecode>& b, std::uint32_t r,
         PackedFloat<FloatBlock<Bits, kDecode>>& p) {
  p.w[r] = b;
}
template <class Bits, float (*kDecode)(Bits)>
void get(const PackedFloat<FloatBlock<Bits, kDecode>>& p, std::uint32_t r, float* out) {
  *out = kDecode(p.w[r].bits);
}

// --- every type ------------------------------------------------------------------------------------------------------

template <class FileBlock, class PackedBlock>
struct Layout {
  using File = FileBlock;
  using Packed = PackedBlock;
};

/// fn(Layout of the type)
template <class Fn>
auto with_layout(QuantType type, Fn fn) {
  switch (type) {
    case QuantType::F32:
      return fn(Layout<BlockF32, PackedFloat<BlockF32>>());
    case QuantType::F16:
      return fn(Layout<BlockF16, PackedFloat<BlockF16>>());
    case QuantType::BF16:
      return fn(Layout<BlockBF16, PackedFloat<BlockBF16>>());
    case QuantType::Q4_0:
      return fn(Layout<BlockQ4_0, PackedQ4_0>());
    case QuantType::Q4_1:
      return fn(Layout<BlockQ4_1, PackedQ4_1>());
    case QuantType::Q5_0:
      return fn(Layout<BlockQ5_0, PackedQ5_0>());
    case QuantType::Q5_1:
      return fn(Layout<BlockQ5_1, PackedQ5_1>());
    case QuantType::Q8_0:
      return fn(Layout<BlockQ8_0, PackedQ8_0>());
    case QuantType::Q2_K:
      return fn(Layout<BlockQ2K, PackedQ2_K>());
    case QuantType::Q3_K:
      return fn(Layout<BlockQ3K, PackedQ3_K>());
    case QuantType::Q4_K:
      return fn(Layout<BlockQ4K, PackedQ4_K>());
    case QuantType::Q5_K:
      return fn(Layout<BlockQ5K, PackedQ5_K>());
    case QuantType::Q6_K:
      return fn(Layout<BlockQ6K, PackedQ6_K>());
    case QuantType::IQ4_NL:
      return fn(Layout<BlockIQ4NL, PackedIQ4_NL>());
    case QuantType::IQ4_XS:
      return fn(Layout<BlockIQ4XS, PackedIQ4_XS>());
  }
  check_failed(__FILE__, __LINE__, "known type", "a QuantType that is not in the list");
}

}  // namespace

PackedShape packed_shape(QuantType type) {
  return with_layout(type, []<class L>(L) {
    return PackedShape{L::Packed::kInputs, static_cast<std::uint32_t>(sizeof(typename L::Packed))};
  });
}

std::size_t packed_group_bytes(QuantType type, std::uint32_t n_in) {
  const PackedShape shape = packed_shape(type);
  return static_cast<std::size_t>(n_in / shape.n_inputs) * shape.n_bytes;
}

void pack_row_group(QuantType type, const std::byte* matrix, std::size_t row_bytes,
                    std::uint32_t n_out, std::uint32_t n_in, std::uint32_t first_row,
                    std::byte* group) {
  const std::byte* rows = matrix + first_row * row_bytes;
  const std::uint32_t n_rows = n_out - first_row < kRowGroup ? n_out - first_row : kRowGroup;
  std::memset(group, 0, packed_group_bytes(type, n_in));
  with_layout(type, [&]<class L>(L) {
    auto* blocks = reinterpret_cast<typename L::Packed*>(group);
    for (std::uint32_t b = 0; b < n_in / L::Packed::kInputs; ++b) {
      for (std::uint32_t r = 0; r < n_rows; ++r) {
        typename L::File block;  // a copy, because a row may lie at any address
        std::memcpy(&block, rows + r * row_bytes + b * sizeof block, sizeof block);
        put(block, r, blocks[b]);
      }
    }
  });
}

void unpack_row(QuantType type, const std::byte* group, std::uint32_t n_in, std::uint32_t row,
                float* out) {
  with_layout(type, [&]<class L>(L) {
    const auto* blocks = reinterpret_cast<const typename L::Packed*>(group);
    for (std::uint32_t b = 0; b < n_in / L::Packed::kInputs; ++b)
      get(blocks[b], row, out + b * L::Packed::kInputs);
  });
}

}  // namespace deepwell::engine
