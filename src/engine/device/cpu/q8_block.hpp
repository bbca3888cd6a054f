// Q8Block: 32 activations as int8, the operand of every dot product with quantised weights.
#pragma once

#include <cstdint>
#include <cstring>

namespace deepwell::engine {

/// x[k] ≈ d · q[k]. d = amax/127, q = rne(x · (127/amax)), never -128. A block whose values are all zero (or so
/// small that 127/amax would overflow) has d = 0 and q = 0; one that holds a non-finite value has d = NaN, q = 0.
struct Q8Block {
  std::int8_t q[32];
  float d;
  float d_sum;            // d · (sum of q): what a weight's minimum is multiplied by
  std::int32_t sum16[2];  // exact sums of q over each half
};
static_assert(sizeof(Q8Block) == 48);

inline constexpr std::uint32_t kQ8BlockLen = 32;

/// One block of each of 16 tokens side by side: what matrix tiles read.
struct Q8Tile {
  static constexpr std::uint32_t kTokens = 16;
  std::int8_t q[kTokens][kQ8BlockLen];
  float d[kTokens];
  float d_sum[kTokens];

  void put(std::uint32_t token, const Q8Block& block) {
    std::memcpy(q[token], block.q, sizeof block.q);
    d[token] = block.d;
    d_sum[token] = block.d_sum;
  }
};
static_assert(sizeof(Q8Tile) == 640);

}  // namespace deepwell::engine
