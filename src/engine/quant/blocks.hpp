// The quantised blocks as a GGUF file stores them: plain structs, and how to read the codes and
// scales in them. Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
//
// Every block is read the same way, element k of it being
//   scale * code_at(block, k) + offset
// where `code_at` gives a small signed integer and scale and offset hold for a group of 16 or 32
// elements.
#pragma once

#include <array>
#include <cstdint>

namespace deepwell::engine {

inline constexpr unsigned kSmallBlock = 32;   // elements of a Q4_0 .. Q8_0 or IQ4_NL block
inline constexpr unsigned kSuperBlock = 256;  // elements of a K or IQ4_XS block

// d, m, dmin are f16 bits everywhere. All blocks have even sizes, so alignment 2 holds inside a
// row.

struct BlockQ4_0 {  // d * (q - 8)
  std::uint16_t d;
  std::uint8_t
      qs[16];  // element k: low nibble of qs[k] for k < 16, high nibble of qs[k - 16] after
};
struct BlockQ4_1 {  // d * q + m
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[16];
};
struct BlockQ5_0 {  // d * (q - 16)
  std::uint16_t d;
  std::uint8_t qh[4];  // bit k (little-endian) is the fifth bit of element k
  std::uint8_t qs[16];
};
struct BlockQ5_1 {  // d * q + m
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ8_0 {  // d * q
  std::uint16_t d;
  std::int8_t qs[32];
};
struct BlockQ2K {           // d * sc * q - dmin * mn, groups of 16
  std::uint8_t scales[16];  // low nibble sc, high nibble mn
  std::uint8_t qs[64];
  std::uint16_t d;
  std::uint16_t dmin;
};
struct BlockQ3K {  // d * (sc - 32) * (q - 4), groups of 16
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];  // sixteen 6-bit numbers
  std::uint16_t d;
};
struct BlockQ4K {  // d * sc * q - dmin * mn, groups of 32
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];  // eight pairs of 6-bit numbers
  std::uint8_t qs[128];
};
struct BlockQ5K {  // d * sc * q - dmin * mn, groups of 32
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
struct BlockQ6K {  // d * sc * (q - 32), groups of 16
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};
struct BlockIQ4NL {  // d * kIq4Values[q]
  std::uint16_t d;
  std::uint8_t qs[16];
};
struct BlockIQ4XS {  // d * (sc - 32) * kIq4Values[q], groups of 32
  std::uint16_t d;
  std::uint16_t scales_h;    // upper two bits of the eight scales
  std::uint8_t scales_l[4];  // lower four bits
  std::uint8_t qs[128];
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4NL) == 18);
static_assert(sizeof(BlockQ2K) == 84 && sizeof(BlockQ3K) == 110 && sizeof(BlockQ4K) == 144);
static_assert(sizeof(BlockQ5K) == 176 && sizeof(BlockQ6K) == 210 && sizeof(BlockIQ4XS) == 136);

/// The sixteen values of the non-linear 4-bit types.
inline constexpr std::array<std::int8_t, 16> kIq4Values = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct ScaleMin {
  std::uint8_t scale;  // 0 .. 63
  std::uint8_t min;    // 0 .. 63
};

/// Group j's (0 .. 7) scale and minimum out of the 12 bytes of Q4_K and Q5_K. The first four pairs
/// lie in the low six bits of bytes 0-3 and 4-7; the others have their low nibbles in bytes 8-11,
/// their upper bits on top of those.
constexpr ScaleMin scale_min_at(const std::uint8_t (&scales)[12], unsigned j) {
  if (j < 4) {
    return {static_cast<std::uint8_t>(scales[j] & 63U),
            static_cast<std::uint8_t>(scales[j + 4] & 63U)};
  }
  const unsigned low = scales[j + 4];
  const unsigned scale_top = scales[j - 4] >> 6;
  const unsigned min_top = scales[j] >> 6;
  return {static_cast<std::uint8_t>((low & 0x0FU) | (scale_top << 4)),
          static_cast<std::uint8_t>((low >> 4) | (min_top << 4))};
}

/// Group j's (0 .. 15) scale of Q3_K, -32 .. 31.
constexpr int scale_at(const BlockQ3K& b, unsigned j) {
  const unsigned low = (b.scales[j % 8] >> (4 * (j / 8))) & 0x0FU;
  const unsigned high = (b.scales[8 + j % 4] >> (2 * (j / 4))) & 3U;
  return static_cast<int>(low | (high << 4)) - 32;
}

/// Group j's (0 .. 7) scale of IQ4_XS, -32 .. 31.
constexpr int scale_at(const BlockIQ4XS& b, unsigned j) {
  const unsigned low = (b.scales_l[j / 2] >> (4 * (j % 2))) & 0x0FU;
  const unsigned high = (static_cast<unsigned>(b.scales_h) >> (2 * j)) & 3U;
  return static_cast<int>(low | (high << 4)) - 32;
}

namespace detail {
/// Element k of a 32-element block whose nibbles pair k with k + 16.
constexpr unsigned nibble_of_32(const std::uint8_t (&qs)[16], unsigned k) {
  return k < 16 ? qs[k] & 0x0FU : qs[k - 16] >> 4;
}
/// Element k of a 256-element block whose nibbles pair k with k + 32 within each 64.
constexpr unsigned nibble_of_256(const std::uint8_t (&qs)[128], unsigned k) {
  return (qs[(k / 64) * 32 + k % 32] >> (4 * ((k / 32) % 2))) & 0x0FU;
}
/// Which of the sixteen values element k of IQ4_XS is: unlike in the K types, nibbles pair k with k + 16
/// within each 32.
constexpr unsigned index_of_256(const std::uint8_t (&qs)[128], unsigned k) {
  return (qs[(k / 32) * 16 + k % 16] >> (4 * ((k / 16) % 2))) & 0x0FU;
}
}  // namespace detail

// code_at(block, k): the integer that the scale multiplies.

constexpr int code_at(const BlockQ4_0& b, unsigned k) {
  return static_cast<int>(detail::nibble_of_32(b.qs, k)) - 8;
}
constexpr int code_at(const BlockQ4_1& b, unsigned k) {
  return static_cast<int>(detail::nibble_of_32(b.qs, k));
}
constexpr int code_at(const BlockQ5_0& b, unsigned k) {
  const unsigned high = (b.qh[k / 8] >> (k % 8)) & 1U;
  return static_cast<int>(detail::nibble_of_32(b.qs, k) | (high << 4)) - 16;
}
constexpr int code_at(const BlockQ5_1& b, unsigned k) {
  const unsigned high = (b.qh[k / 8] >> (k % 8)) & 1U;
  return static_cast<int>(detail::nibble_of_32(b.qs, k) | (high << 4));
}
constexpr int code_at(const BlockQ8_0& b, unsigned k) { return b.qs[k]; }
constexpr int code_at(const BlockQ2K& b, unsigned k) {
  return static_cast<int>((b.qs[(k / 128) * 32 + k % 32] >> (2 * ((k / 32) % 4))) & 3U);
}
constexpr int code_at(const BlockQ3K& b, unsigned k) {
  const unsigned low = (b.qs[(k / 128) * 32 + k % 32] >> (2 * ((k / 32) % 4))) & 3U;
  const unsigned high = (b.hmask[k % 32] >> (k / 32)) & 1U;
  return static_cast<int>(low | (high << 2)) - 4;
}
constexpr int code_at(const BlockQ4K& b, unsigned k) {
  return static_cast<int>(detail::nibble_of_256(b.qs, k));
}
constexpr int code_at(const BlockQ5K& b, unsigned k) {
  const unsigned high = (b.qh[k % 32] >> (k / 32)) & 1U;
  return static_cast<int>(detail::nibble_of_256(b.qs, k) | (high << 4));
}
constexpr int code_at(const BlockQ6K& b, unsigned k) {
  const unsigned quarter = (k / 32) % 4;
  const unsigned low = (b.ql[(k / 128) * 64 + k % 64] >> (4 * (quarter / 2))) & 0x0FU;
  const unsigned high = (b.qh[(k / 128) * 32 + k % 32] >> (2 * quarter)) & 3U;
  return static_cast<int>(low | (high << 4)) - 32;
}
constexpr int code_at(const BlockIQ4NL& b, unsigned k) {
  return kIq4Values[detail::nibble_of_32(b.qs, k)];
}
constexpr int code_at(const BlockIQ4XS& b, unsigned k) {
  return kIq4Values[detail::index_of_256(b.qs, k)];
}

}  // namespace deepwell::engine
