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

#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/target_region.hpp"
#include "engine/numerics/functions.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {

inline constexpr float kSmallestAmax =
    1e-30F;  // below it 127/amax might overflow: the block is zero

// Element types of float weights: distinct types, so that load_weights() can be an overload.
struct Half {
  std::uint16_t bits;
};
struct Brain {
  std::uint16_t bits;
};

}  // namespace deepwell::engine
