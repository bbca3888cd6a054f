// Pre-norm grouped-query attention with rotated positions.
#pragma once

#include "engine/model/binder.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

enum class Bias : std::uint8_t { kOptional, kRequired };

Status bind_attention(Binder& binder, const HyperParams& hyper, LayerWeights& layer, Bias bias);

/// x += Wo · attention(rope(Wq · h), rope(Wk · h), Wv · h), h = rms_norm(x)
void attention_block(const Model& model, std::uint32_t l, Device& device);

}  // namespace deepwell::engine
