// Encoding: scales from each group's range, then every element to the nearest code that the stored
// scales can say.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/check.hpp"
#include "engine/quant/blocks.hpp"
#include "engine/quant/codec.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {
namespace {

/// x rounded to the nearest integer within [low, high]; not-a-number gives low.
int nearest(float x, int low, int high) {
  if (!(x > static_cast<float>(low))) {
    return low;
  }
  return x >= static_cast<float>(high) ? high : static_cast<int>(std::nearbyint(x));
}

/// 1/d, or 0 where everything is to become code 0.
float inverse(float d) { return d != 0.0F ? 1.0F / d : 0.0F; }

/// The element of largest magnitude, with its sign.
float extreme(std::span<const float> x) {
  float found = 0;
  for (const float value : x) {
    found = std::fabs(value) > std::fabs(found) ? value : found;
  }
  return found;
}

struct Range {
  float low;
  float high;
};
Range range_of(std::span<const float> x) {
  Range range{x[0], x[0]};
  for (const float value : x) {
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

void put_nibble(std::uint8_t (&qs)[16], unsigned k, unsigned code) {
  qs[k % 16] = static_cast<std::uint8_t>(qs[k % 16] | (code << (4 * (k / 16))));
}
void put_bit(std::uint8_t (&qh)[4], unsigned k, unsigned bit) {
  qh[k / 8] = static_cast<std::uint8_t>(qh[k / 8] | (bit << (k % 8)));
}
void put_nibble_256(std::uint8_t (&qs)[128], unsigned k, unsigned code) {
  std::uint8_t& byte = qs[(k / 64) * 32 + k % 32];
  byte = static_cast<std::uint8_t>(byte | (code << (4 * ((k / 32) % 2))));
}

void put_pair_256(std::uint8_t (&qs)[64], unsigned k, unsigned code) {
  std::uint8_t& byte = qs[(k / 128) * 32 + k % 32];
  byte = static_cast<std::uint8_t>(byte | (code << (2 * ((k / 32) % 4))));
}

void encode_block(BlockQ4_0& b, std::span<const float> x) {
  // The extreme element gets code -8, the end that has one code more.
  b.d = f32_to_f16(extreme(x) / -8.0F);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) {
    put_nibble(b.qs, k, static_cast<unsigned>(nearest(x[k] * inverse_d, -8, 7) + 8));
  }
}

void encode_block(BlockQ4_1& b, std::span<const float> x) {
  const Range range = range_of(x);
  b.d = f32_to_f16((range.high - range.low) / 15.0F);
  b.m = f32_to_f16(range.low);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) {
    put_nibble(b.qs, k,
               static_cast<unsigned>(nearest((x[k] - f16_to_f32(b.m)) * inverse_d, 0, 15)));
  }
}

void encode_block(BlockQ5_0& b, std::span<const float> x) {
  b.d = f32_to_f16(extreme(x) / -16.0F);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) {
    const auto code = static_cast<unsigned>(nearest(x[k] * inverse_d, -16, 15) + 16);
    put_nibble(b.qs, k, code & 15U);
    put_bit(b.qh, k, code >> 4);
  }
}

void encode_block(BlockQ5_1& b, std::span<const float> x) {
  const Range range = range_of(x);
  b.d = f32_to_f16((range.high - range.low) / 31.0F);
  b.m = f32_to_f16(range.low);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) {
    const auto code = static_cast<unsigned>(nearest((x[k] - f16_to_f32(b.m)) * inverse_d, 0, 31));
    put_nibble(b.qs, k, code & 15U);
    put_bit(b.qh, k, code >> 4);
  }
}

void encode_block(BlockQ8_0& b, std::span<const float> x) {
  b.d = f32_to_f16(std::fabs(extreme(x)) / 127.0F);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) {
    b.qs[k] = static_cast<std::int8_t>(nearest(x[k] * inverse_d, -127, 127));
  }
}

/// The index of the one of kIq4Values that is nearest to x; not-a-number gives 0.
unsigned nearest_iq4(float x) {
  unsigned found = 0;
  for (unsigned i = 1; i < kIq4Values.size(); ++i) {
    if (std::fabs(x - static_cast<float>(kIq4Values[i])) <
        std::fabs(x - static_cast<float>(kIq4Values[found])))
      found = i;
  }
  return found;
}

void encode_block(BlockIQ4NL& b, std::span<const float> x) {
  b.d = f32_to_f16(extreme(x) / -127.0F);
  const float inverse_d = inverse(f16_to_f32(b.d));
  for (unsigned k = 0; k < kSmallBlock; ++k) put_nibble(b.qs, k, nearest_iq4(x[k] * inverse_d));
}

/// Groups with a scale and a minimum, both 0 .. max_scale: these go to put_scale(j, scale, min), codes 0 .. max_code to
/// put(k, code).
template <unsigned kGroups, class Block, class PutScale, class Put>
void encode_with_mins(Block& b, std::span<const float> x, int max_scale, int max_code,
                      PutScale put_scale, Put put) {
  constexpr unsigned kLength = kSuperBlock / kGroups;
  float scales[kGroups];
  float mins[kGroups];  // as positive numbers: they are subtracted
  for (unsigned j = 0; j < kGroups; ++j) {
    const Range range = range_of(x.subspan(j * kLength, kLength));
    const float low = std::min(range.low, 0.0F);
    scales[j] = (std::max(range.high, 0.0F) - low) / static_cast<float>(max_code);
    mins[j] = -low;
  }
  b.d = f32_to_f16(*std::max_element(scales, scales + kGroups) / static_cast<float>(max_scale));
  b.dmin = f32_to_f16(*std::max_element(mins, mins + kGroups) / static_cast<float>(max_scale));
  const float d = f16_to_f32(b.d);
  const float dmin = f16_to_f32(b.dmin);
  for (unsigned j = 0; j < kGroups; ++j) {
    const auto scale = static_cast<unsigned>(nearest(scales[j] * inverse(d), 0, max_scale));
    const auto min = static_cast<unsigned>(nearest(mins[j] * inverse(dmin), 0, max_scale));
    put_scale(j, scale, min);
    const float offset = dmin * static_cast<float>(min);
    const float inverse_scale = inverse(d * static_cast<float>(scale));
    for (unsigned k = j * kLength; k < (j + 1) * kLength; ++k) {
      put(k, static_cast<unsigned>(nearest((x[k] + offset) * inverse_scale, 0, max_code)));
    }
  }
}

void encode_block(BlockQ2K& b, std::span<const float> x) {
  encode_with_mins<16>(
      b, x, 15, 3,
      [&b](unsigned j, unsigned scale, unsigned min) {
        b.scales[j] = static_cast<std::uint8_t>(scale | (min << 4));
      },
      [&b](unsigned k, unsigned code) { put_pair_256(b.qs, k, code); });
}

/// The inverse of scale_min_at().
void put_scale_min(std::uint8_t (&scales)[12], unsigned j, unsigned scale, unsigned min) {
  if (j < 4) {
    scales[j] = static_cast<std::uint8_t>(scales[j] | scale);
    scales[j + 4] = static_cast<std::uint8_t>(scales[j + 4] | min);
  } else {
    scales[j + 4] = static_cast<std::uint8_t>((scale & 15U) | ((min & 15U) << 4));
    scales[j - 4] = static_cast<std::uint8_t>(scales[j - 4] | ((scale >> 4) << 6));
    scales[j] = static_cast<std::uint8_t>(scales[j] | ((min >> 4) << 6));
  }
}

void encode_block(BlockQ4K& b, std::span<const float> x) {
  encode_with_mins<8>(
      b, x, 63, 15,
      [&b](unsigned j, unsigned scale, unsigned min) { put_scale_min(b.scales, j, scale, min); },
      [&b](unsigned k, unsigned code) { put_nibble_256(b.qs, k, code); });
}

void encode_block(BlockQ5K& b, std::span<const float> x) {
  encode_with_mins<8>(
      b, x, 63, 31,
      [&b](unsigned j, unsigned scale, unsigned min) { put_scale_min(b.scales, j, scale, min); },
      [&b](unsigned k, unsigned code) {
        put_nibble_256(b.qs, k, code & 15U);
        b.qh[k % 32] = static_cast<std::uint8_t>(b.qh[k % 32] | ((code >> 4) << (k / 32)));
      });
}

/// Groups with a signed scale, -max_scale .. max_scale - 1, that goes to put_scale(j, scale). The extreme element of a
/// group becomes -max_code: put(k, x) gets each element in units of its group's scale.
template <unsigned kGroups, class Block, class PutScale, class Put>
void encode_with_signed_scales(Block& b, std::span<const float> x, int max_scale, int max_code,
                               PutScale put_scale, Put put) {
  constexpr unsigned kLength = kSuperBlock / kGroups;
  float scales[kGroups];
  for (unsigned j = 0; j < kGroups; ++j)
    scales[j] = extreme(x.subspan(j * kLength, kLength)) / static_cast<float>(-max_code);
  b.d = f32_to_f16(extreme(scales) / static_cast<float>(-max_scale));
  const float d = f16_to_f32(b.d);
  for (unsigned j = 0; j < kGroups; ++j) {
    const int scale = nearest(scales[j] * inverse(d), -max_scale, max_scale - 1);
    put_scale(j, scale);
    const float inverse_scale = inverse(d * static_cast<float>(scale));
    for (unsigned k = j * kLength; k < (j + 1) * kLength; ++k) put(k, x[k] * inverse_scale);
  }
}

void encode_block(BlockQ3K& b, std::span<const float> x) {
  encode_with_signed_scales<16>(
      b, x, 32, 4,
      [&b](unsigned j, int scale) {  // the inverse of scale_at()
        const auto bits = static_cast<unsigned>(scale + 32);
        std::uint8_t& low = b.scales[j % 8];
        std::uint8_t& high = b.scales[8 + j % 4];
        low = static_cast<std::uint8_t>(low | ((bits & 15U) << (4 * (j / 8))));
        high = static_cast<std::uint8_t>(high | ((bits >> 4) << (2 * (j / 4))));
      },
      [&b](unsigned k, float value) {
        const auto code = static_cast<unsigned>(nearest(value, -4, 3) + 4);
        put_pair_256(b.qs, k, code & 3U);
        b.hmask[k % 32] = static_cast<std::uint8_t>(b.hmask[k % 32] | ((code >> 2) << (k / 32)));
      });
}

void encode_block(BlockQ6K& b, std::span<const float> x) {
  encode_with_signed_scales<16>(
      b, x, 128, 32, [&b](unsigned j, int scale) { b.scales[j] = static_cast<std::int8_t>(scale); },
      [&b](unsigned k, float value) {
        const auto code = static_cast<unsigned>(nearest(value, -32, 31) + 32);
        const unsigned quarter = (k / 32) % 4;
        std::uint8_t& low = b.ql[(k / 128) * 64 + k % 64];
        std::uint8_t& high = b.qh[(k / 128) * 32 + k % 32];
        low = static_cast<std::uint8_t>(low | ((code & 15U) << (4 * (quarter / 2))));
        high = static_cast<std::uint8_t>(high | ((code >> 4) << (2 * quarter)));
      });
}

void encode_block(BlockIQ4XS& b, std::span<const float> x) {
  encode_with_signed_scales<8>(
      b, x, 32, 127,
      [&b](unsigned j, int scale) {  // the inverse of scale_at()
        const auto bits = static_cast<unsigned>(scale + 32);
        std::uint8_t& low = b.scales_l[j / 2];
        low = static_cast<std::uint8_t>(low | ((bits & 15U) << (4 * (j % 2))));
        b.scales_h = static_cast<std::uint16_t>(b.scales_h | ((bits >> 4) << (2 * j)));
      },
      [&b](unsigned k, float value) {
        std::uint8_t& byte = b.qs[(k / 32) * 16 + k % 16];
        byte = static_cast<std::uint8_t>(byte | (nearest_iq4(value) << (4 * ((k / 16) % 2))));
      });
}

template <class Block>
void encode_blocks(const float* values, std::size_t n, std::byte* row, unsigned n_block) {
  for (std::size_t start = 0; start < n; start += n_block) {
    Block block{};
    encode_block(block, std::span(values + start, n_block));
    std::memcpy(row + start / n_block * sizeof(Block), &block, sizeof block);
  }
}

template <std::uint16_t (*kConvert)(float)>
void encode_halves(const float* values, std::size_t n, std::byte* row) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t half = kConvert(values[i]);
    std::memcpy(row + i * sizeof half, &half, sizeof half);
  }
}

}  // namespace

void encode_row(QuantType type, const float* values, std::size_t n, std::byte* row) {
  DW_CHECK(n % block_shape(type).n_elements == 0, "a row is a whole number of blocks");
  switch (type) {
    case QuantType::F32:
      std::memcpy(row, values, n * sizeof(float));
      return;
    case QuantType::F16:
      return encode_halves<f32_to_f16>(values, n, row);
    case QuantType::BF16:
      return encode_halves<f32_to_bf16>(values, n, row);
    case QuantType::Q4_0:
      return encode_blocks<BlockQ4_0>(values, n, row, kSmallBlock);
    case QuantType::Q4_1:
      return encode_blocks<BlockQ4_1>(values, n, row, kSmallBlock);
    case QuantType::Q5_0:
      return encode_blocks<BlockQ5_0>(values, n, row, kSmallBlock);
    case QuantType::Q5_1:
      return encode_blocks<BlockQ5_1>(values, n, row, kSmallBlock);
    case QuantType::Q8_0:
      return encode_blocks<BlockQ8_0>(values, n, row, kSmallBlock);
    case QuantType::IQ4_NL:
      return encode_blocks<BlockIQ4NL>(values, n, row, kSmallBlock);
    case QuantType::Q2_K:
      return encode_blocks<BlockQ2K>(values, n, row, kSuperBlock);
    case QuantType::Q3_K:
      return encode_blocks<BlockQ3K>(values, n, row, kSuperBlock);
    case QuantType::Q4_K:
      return encode_blocks<BlockQ4K>(values, n, row, kSuperBlock);
    case QuantType::Q5_K:
      return encode_blocks<BlockQ5K>(values, n, row, kSuperBlock);
    case QuantType::Q6_K:
      return encode_blocks<BlockQ6K>(values, n, row, kSuperBlock);
    case QuantType::IQ4_XS:
      return encode_blocks<BlockIQ4XS>(values, n, row, kSuperBlock);
  }
}

}  // namespace deepwell::engine
