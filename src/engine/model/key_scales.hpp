// The static scales of 8-bit keys: what a key is divided by before it is kept.
#pragma once

#include "base/result.hpp"
#include "engine/device/device.hpp"
#include "engine/gguf/gguf.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

/// Gives every layer its key_scale, [n_kv_heads * d_head].
///
/// A key is kept as int8 with one scale for the token, so a dimension that is always large would leave the others few
/// steps: Qwen's key biases reach 100 times the size of what varies. Rotation mixes only the two dimensions of a pair,
/// and keeps their length; so both are divided by one number, the length to be expected if the normalised input has
/// independent components of mean square 1: sqrt(sum over the pair of bias² + sum over k of (W[k] · gain[k])²).
/// A function of the weights alone, summed in double in one order: the same on every machine.
///
/// Errors: kInvalidArgument, if a tensor is missing. Needs weights whose shapes were checked.
Status add_key_scales(const GgufFile& file, const HyperParams& hyper, Device& device,
                      Weights& weights);

}  // namespace deepwell::engine
