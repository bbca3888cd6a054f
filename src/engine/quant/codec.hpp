// Rows of a model file's own block layouts to and from float: the truth for every kernel.
#pragma once

#include <cstddef>

#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// Decodes a row of n elements (a multiple of the type's block) from n / block.n_elements blocks at
/// any address. The bits are those of the PyPI package `gguf` (gguf.quants.dequantize): products
/// and sums in float, unfused.
void decode_row(QuantType type, const std::byte* row, std::size_t n, float* out);

/// Encodes a row of n elements (a multiple of the type's block): scales from each group's range,
/// codes to the nearest. Deterministic and simple rather than the best possible. Not-a-numbers
/// become some finite value, values beyond the range of a half saturate its scale to infinity.
void encode_row(QuantType type, const float* values, std::size_t n, std::byte* row);

}  // namespace deepwell::engine
