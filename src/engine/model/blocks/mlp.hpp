// Pre-norm SwiGLU feed-forward layer.
#pragma once

#include "engine/model/binder.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

Status bind_mlp(Binder& binder, const HyperParams& hyper, LayerWeights& layer);

/// x += Wdown · (silu(Wgate · h) * (Wup · h)), h = rms_norm(x)
void mlp_block(const Model& model, std::uint32_t l, Device& device);

}  // namespace deepwell::engine
