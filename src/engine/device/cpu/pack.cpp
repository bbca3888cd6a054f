// Packing of GGUF rows into the interleaved layout, and reading single rows back out of it.
#include <cstring>

#include "base/check.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/quant/blocks.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {

namespace {

/// Where input k of row r lies in a block of 32 inputs, counted in values.
constexpr std::size_t interleaved(std::uint32_t k, std::uint32_t r) {
  return ((k / 4) * kRowGroup + r) * 4 + k % 4;
}

/// The low four bits of 32 codes of row r: group g shares its bytes with group g+4.
void put_nibbles(std::uint8_t* q, std::uint32_t r, const std::uint8_t (&codes)[32]) {
  for (std::uint32_t k = 0; k < 16; ++k) {
    q[interleaved(k, r)] =
        static_cast<std::uint8_t>((codes[k] & 15U) | ((codes[k + 16] & 15U) << 4));
  }
}
unsigned get_nibble(const std::uint8_t* q, std::uint32_t k, std::uint32_t r) {
  return (q[interleaved(k % 16, r)] >> (k < 16 ? 0 : 4)) & 15U;
}

// put(source block, row, packed block): writes one row's part of a packed block.
// get(packed block, row, out): decodes it again, by the formula of the file's own decoder.

void put(const BlockQ8_0& b, std::uint32_t r, PackedQ8_0& p) {
  p.d[r] = b.d;
  for (std::uint32_t k = 0; k < 32; ++k)
    p.q[interleaved(k, r)] = static_cast<std::uint8_t>(b.qs[k] + 128);
}
void get(const PackedQ8_0& p, std::uint32_t r, float* out) {
  const float d = f16_to_f32(p.d[r]);
  for (std::uint32_t k = 0; k < 32; ++k)
    out[k] = d * static_cast<float>(p.q[interleaved(k, r)] - 128);
}

/// Codes of 32 elements from k0 on, made unsigned by adding `offset`.
template <class Block>
void read_codes(const Block& b, std::uint32_t k0, int offset, std::uint8_t (&codes)[32]) {
  for (std::uint32_t k = 0; k < 32; ++k)
    codes[k] = static_cast<std::uint8_t>(code_at(b, k0 + k) + offset);
}

void put(const BlockQ4_1& b, std::uint32_t r, PackedQ4_1& p) {
  p.d[r] = b.d;
  p.m[r] = b.m;
  std::uint8_t codes[32];
  read_codes(b, 0, 0, codes);
  put_nibbles(p.q, r, codes);
}
void get(const PackedQ4_1& p, std::uint32_t r, float* out) {
  const float d = f16_to_f32(p.d[r]);
  const float m = f16_to_f32(p.m[r]);
  for (std::uint32_t k = 0; k < 32; ++k) out[k] = d * static_cast<float>(get_nibble(p.q, k, r)) + m;
}

void put(const BlockQ5_0& b, std::uint32_t r, PackedQ5_0& p) {
  p.d[r] = b.d;
  std::uint8_t codes[32];
  read_codes(b, 0, 16, codes);
  put_nibbles(p.q, r, codes);
  for (std::uint32_t i = 0; i < 4; ++i) {
    unsigned high = 0;
    for (std::uint32_t g = 0; g < 8; ++g) high |= static_cast<unsigned>(codes[4 * g + i] >> 4) << g;
    p.h[r * 4 + i] = static_cast<std::uint8_t>(high);
  }
}
void get(const PackedQ5_0& p, std::uint32_t r, float* out) {
  const float d = f16_to_f32(p.d[r]);
  for (std::uint32_t k = 0; k < 32; ++k) {
    const unsigned high = (p.h[r * 4 + k % 4] >> (k / 4)) & 1U;
    out[k] = d * static_cast<float>(static_cast<int>(get_nibble(p.q, k, r) | (high << 4)) - 16);
  }
}

void put(const BlockQ4K& b, std::uint32_t r, PackedQ4_K& p) {
  p.d[r] = b.d;
  p.dmin[r] = b.dmin;
  std::uint8_t codes[32];
  for (std::uint32_t j = 0; j < 8; ++j) {
    const ScaleMin sm = scale_min_at(b.scales, j);
    p.scale[j][r] = sm.scale;
    p.min[j][r] = sm.min;
    read_codes(b, 32 * j, 0, codes);
    put_nibbles(p.q[j], r, codes);
  }
}
void get(const PackedQ4_K& p, std::uint32_t r, float* out) {
  const float d = f16_to_f32(p.d[r]);
  const float dmin = f16_to_f32(p.dmin[r]);
  for (std::uint32_t j = 0; j < 8; ++j) {
    const float scale = d * static_cast<float>(p.scale[j][r]);
    const float min = dmin * static_cast<float>(p.min[j][r]);
    for (std::uint32_t k = 0; k < 32; ++k)
      out[32 * j + k] = scale * static_cast<float>(get_nibble(p.q[j], k, r)) - min;
  }
}

void put(const BlockQ6K& b, std::uint32_t r, PackedQ6_K& p) {
  p.d[r] = b.d;
  for (std::uint32_t j = 0; j < 16; ++j) p.scale[j][r] = b.scales[j];
  std::uint8_t codes[32];
  for (std::uint32_t j = 0; j < 8; ++j) {
    read_codes(b, 32 * j, 32, codes);
    put_nibbles(p.low[j], r, codes);
    for (std::uint32_t half = 0; half < 2; ++half) {
      for (std::uint32_t i = 0; i < 4; ++i) {
        unsigned high = 0;
        for (std::uint32_t g = 0; g < 4; ++g)
          high |= static_cast<unsigned>(codes[16 * half + 4 * g + i] >> 4) << (2 * g);
        p.high[j][half * 64 + r * 4 + i] = static_cast<std::uint8_t>(high);
      }
    }
  }
}
void get(const PackedQ6_K& p, std::uint32_t r, float* out) {
  const float d = f16_to_f32(p.d[r]);
  for (std::uint32_t j = 0; j < 8; ++j) {
    for (std::uint32_t k = 0; k < 32; ++k) {
      const float scale = d * static_cast<float>(p.scale[2 * j + k / 16][r]);
      const unsigned high = (p.high[j][(k / 16) * 64 + r * 4 + k % 4] >> (2 * (k / 4 % 4))) & 3U;
      const int code = static_cast<int>(get_nibble(p.low[j], k, r) | (high << 4)) - 32;
      out[32 * j + k] = scale * static_cast<float>(code);
    }
  }
}

template <class Bits>
struct FloatBlock {
  Bits value;
};
template <class Bits>
void put(const FloatBlock<Bits>& b, std::uint32_t r, PackedFloat<Bits>& p) {
  p.w[r] = b.value;
}

template <class Block, class Packed>
void pack_rows(const std::byte* rows, std::size_t row_bytes, std::uint32_t n_rows,
               std::uint32_t n_in, std::byte* group) {
  const std::uint32_t n_blocks = n_in / Packed::kInputs;
  std::memset(group, 0, n_blocks * sizeof(Packed));
  for (std::uint32_t b = 0; b < n_blocks; ++b) {
    Packed& packed = reinterpret_cast<Packed*>(group)[b];
    for (std::uint32_t r = 0; r < n_rows; ++r) {
      Block block;
      std::memcpy(&block, rows + r * row_bytes + b * sizeof(Block), sizeof(Block));
      put(block, r, packed);
    }
  }
}

template <class Packed>
void unpack_blocks(const std::byte* group, std::uint32_t n_in, std::uint32_t row, float* out) {
  const auto* blocks = reinterpret_cast<const Packed*>(group);
  for (std::uint32_t b = 0; b < n_in / Packed::kInputs; ++b)
    get(blocks[b], row, out + b * Packed::kInputs);
}

}  // namespace

bool has_packed_layout(QuantType type) { return packed_shape(type).n_bytes != 0; }

PackedShape packed_shape(QuantType type) {
  const auto shape = []<class Packed>(const Packed*) {
    return PackedShape{Packed::kInputs, static_cast<std::uint32_t>(sizeof(Packed))};
  };
  switch (type) {
    case QuantType::F32:
      return shape(static_cast<PackedFloat<std::uint32_t>*>(nullptr));
    case QuantType::F16:
    case QuantType::BF16:
      return shape(static_cast<PackedFloat<std::uint16_t>*>(nullptr));
    case QuantType::Q8_0:
      return shape(static_cast<PackedQ8_0*>(nullptr));
    case QuantType::Q4_1:
      return shape(static_cast<PackedQ4_1*>(nullptr));
    case QuantType::Q5_0:
      return shape(static_cast<PackedQ5_0*>(nullptr));
    case QuantType::Q4_K:
      return shape(static_cast<PackedQ4_K*>(nullptr));
    case QuantType::Q6_K:
      return shape(static_cast<PackedQ6_K*>(nullptr));
    default:
      return {0, 0};
  }
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
  switch (type) {
    case QuantType::F32:
      return pack_rows<FloatBlock<std::uint32_t>, PackedFloat<std::uint32_t>>(rows, row_bytes,
                                                                              n_rows, n_in, group);
    case QuantType::F16:
    case QuantType::BF16:
      return pack_rows<FloatBlock<std::uint16_t>, PackedFloat<std::uint16_t>>(rows, row_bytes,
                                                                              n_rows, n_in, group);
    case QuantType::Q8_0:
      return pack_rows<BlockQ8_0, PackedQ8_0>(rows, row_bytes, n_rows, n_in, group);
    case QuantType::Q4_1:
      return pack_rows<BlockQ4_1, PackedQ4_1>(rows, row_bytes, n_rows, n_in, group);
    case QuantType::Q5_0:
      return pack_rows<BlockQ5_0, PackedQ5_0>(rows, row_bytes, n_rows, n_in, group);
    case QuantType::Q4_K:
      return pack_rows<BlockQ4K, PackedQ4_K>(rows, row_bytes, n_rows, n_in, group);
    case QuantType::Q6_K:
      return pack_rows<BlockQ6K, PackedQ6_K>(rows, row_bytes, n_rows, n_in, group);
    default:
      DW_CHECK(false, "a type without a packed layout must be refused before packing");
  }
}

void unpack_row(QuantType type, const std::byte* group, std::uint32_t n_in, std::uint32_t row,
                float* out) {
  switch (type) {
    case QuantType::F32:
      for (std::uint32_t k = 0; k < n_in; ++k)
        std::memcpy(out + k, group + (k * kRowGroup + row) * 4, 4);
      return;
    case QuantType::F16:
    case QuantType::BF16:
      for (std::uint32_t k = 0; k < n_in; ++k) {
        std::uint16_t bits;
        std::memcpy(&bits, group + (k * kRowGroup + row) * 2, 2);
        out[k] = type == QuantType::F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
      }
      return;
    case QuantType::Q8_0:
      return unpack_blocks<PackedQ8_0>(group, n_in, row, out);
    case QuantType::Q4_1:
      return unpack_blocks<PackedQ4_1>(group, n_in, row, out);
    case QuantType::Q5_0:
      return unpack_blocks<PackedQ5_0>(group, n_in, row, out);
    case QuantType::Q4_K:
      return unpack_blocks<PackedQ4_K>(group, n_in, row, out);
    case QuantType::Q6_K:
      return unpack_blocks<PackedQ6_K>(group, n_in, row, out);
    default:
      DW_CHECK(false, "a type without a packed layout");
  }
}

}  // namespace deepwell::engine
