// What the generic kernels need, included before an instruction set's target region.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <type_traits>

#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/target_region.hpp"
#include "engine/numerics/functions.hpp"
#include "engine/quant/blocks.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {

inline constexpr float kSmallestAmax =
    1e-30F;  // below it 127/amax might overflow: the block is zero

/// kIq4Values + 128: unsigned codes, as Q8_0 has them.
struct Iq4Codes {
  std::uint8_t codes[16];
};
inline constexpr Iq4Codes kIq4Codes = [] {
  Iq4Codes table{};
  for (std::size_t i = 0; i < 16; ++i)
    table.codes[i] = static_cast<std::uint8_t>(kIq4Values[i] + 128);
  return table;
}();

// Element types of float weights: distinct types, so that load_weights() can be an overload.
struct Half {
  std::uint16_t bits;
};
struct Brain {
  std::uint16_t bits;
};

}  // namespace deepwell::engine
