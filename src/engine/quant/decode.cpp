// Decoding: one loop for all block types, which differ in their codes and in the scales of their
// groups.
#include <cstring>

#include "base/check.hpp"
#include "engine/quant/blocks.hpp"
#include "engine/quant/codec.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {
namespace {

/// A group's elements are scale * code + offset.
struct Affine {
  float scale;
  float offset;
};

// x + -0.0 is x for every x, zeros of both signs included: types without an offset need no loop of
// their own.
constexpr float kNoOffset = -0.0F;

Affine affine_of(const BlockQ4_0& b, unsigned) { return {f16_to_f32(b.d), kNoOffset}; }
Affine affine_of(const BlockQ4_1& b, unsigned) { return {f16_to_f32(b.d), f16_to_f32(b.m)}; }
Affine affine_of(const BlockQ5_0& b, unsigned) { return {f16_to_f32(b.d), kNoOffset}; }
Affine affine_of(const BlockQ5_1& b, unsigned) { return {f16_to_f32(b.d), f16_to_f32(b.m)}; }
Affine affine_of(const BlockQ8_0& b, unsigned) { return {f16_to_f32(b.d), kNoOffset}; }
Affine affine_of(const BlockIQ4NL& b, unsigned) { return {f16_to_f32(b.d), kNoOffset}; }

Affine affine_of(const BlockQ2K& b, unsigned j) {
  const auto scale = static_cast<float>(b.scales[j] & 0x0F);
  const auto min = static_cast<float>(b.scales[j] >> 4);
  return {f16_to_f32(b.d) * scale, -(f16_to_f32(b.dmin) * min)};
}
Affine affine_of(const BlockQ3K& b, unsigned j) {
  return {f16_to_f32(b.d) * static_cast<float>(scale_at(b, j)), kNoOffset};
}
template <class Block>  // Q4_K and Q5_K
Affine affine_with_min(const Block& b, unsigned j) {
  const ScaleMin pair = scale_min_at(b.scales, j);
  return {f16_to_f32(b.d) * static_cast<float>(pair.scale),
          -(f16_to_f32(b.dmin) * static_cast<float>(pair.min))};
}
Affine affine_of(const BlockQ4K& b, unsigned j) { return affine_with_min(b, j); }
Affine affine_of(const BlockQ5K& b, unsigned j) { return affine_with_min(b, j); }
Affine affine_of(const BlockQ6K& b, unsigned j) {
  return {f16_to_f32(b.d) * static_cast<float>(b.scales[j]), kNoOffset};
}
Affine affine_of(const BlockIQ4XS& b, unsigned j) {
  return {f16_to_f32(b.d) * static_cast<float>(scale_at(b, j)), kNoOffset};
}

template <class Block>
void decode_blocks(const std::byte* row, std::size_t n, float* out, unsigned n_block,
                   unsigned n_group) {
  for (std::size_t start = 0; start < n; start += n_block) {
    Block block;  // a copy, because a row may lie at any address
    std::memcpy(&block, row + start / n_block * sizeof(Block), sizeof block);
    for (unsigned k = 0; k < n_block; ++k) {
      const Affine affine = affine_of(block, k / n_group);
      out[start + k] = affine.scale * static_cast<float>(code_at(block, k)) + affine.offset;
    }
  }
}

template <float (*kConvert)(std::uint16_t)>
void decode_halves(const std::byte* row, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, row + i * sizeof half, sizeof half);
    out[i] = kConvert(half);
  }
}

}  // namespace

void decode_row(QuantType type, const std::byte* row, std::size_t n, float* out) {
  DW_CHECK(n % block_shape(type).n_elements == 0, "a row is a whole number of blocks");
  switch (type) {
    case QuantType::F32:
      std::memcpy(out, row, n * sizeof(float));
      return;
    case QuantType::F16:
      return decode_halves<f16_to_f32>(row, n, out);
    case QuantType::BF16:
      return decode_halves<bf16_to_f32>(row, n, out);
    case QuantType::Q4_0:
      return decode_blocks<BlockQ4_0>(row, n, out, kSmallBlock, 32);
    case QuantType::Q4_1:
      return decode_blocks<BlockQ4_1>(row, n, out, kSmallBlock, 32);
    case QuantType::Q5_0:
      return decode_blocks<BlockQ5_0>(row, n, out, kSmallBlock, 32);
    case QuantType::Q5_1:
      return decode_blocks<BlockQ5_1>(row, n, out, kSmallBlock, 32);
    case QuantType::Q8_0:
      return decode_blocks<BlockQ8_0>(row, n, out, kSmallBlock, 32);
    case QuantType::IQ4_NL:
      return decode_blocks<BlockIQ4NL>(row, n, out, kSmallBlock, 32);
    case QuantType::Q2_K:
      return decode_blocks<BlockQ2K>(row, n, out, kSuperBlock, 16);
    case QuantType::Q3_K:
      return decode_blocks<BlockQ3K>(row, n, out, kSuperBlock, 16);
    case QuantType::Q4_K:
      return decode_blocks<BlockQ4K>(row, n, out, kSuperBlock, 32);
    case QuantType::Q5_K:
      return decode_blocks<BlockQ5K>(row, n, out, kSuperBlock, 32);
    case QuantType::Q6_K:
      return decode_blocks<BlockQ6K>(row, n, out, kSuperBlock, 16);
    case QuantType::IQ4_XS:
      return decode_blocks<BlockIQ4XS>(row, n, out, kSuperBlock, 32);
  }
}

}  // namespace deepwell::engine
