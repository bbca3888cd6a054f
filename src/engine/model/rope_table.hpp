// The table of cosines and sines that rotates queries and keys.
#pragma once

#include <vector>

#include "engine/model/model.hpp"

namespace deepwell::engine {

/// [n_positions, d_rope/2, 2] (cos, sin), from one scalar double routine: the same bits on every machine.
/// Sources: RoPE (arXiv:2104.09864), position interpolation (arXiv:2306.15595), YaRN (arXiv:2309.00071).
std::vector<float> make_rope_table(const RopeHyperParams& rope, std::uint32_t n_positions);

}  // namespace deepwell::engine
