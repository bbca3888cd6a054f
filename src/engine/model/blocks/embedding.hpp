// Both ends of a model: token embedding and output projection.
#pragma once

#include "engine/model/binder.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

/// Embedding, final norm and output projection; without output.weight the embedding is the projection (tied).
Status bind_embedding(Binder& binder, const HyperParams& hyper, Weights& weights);

/// logits = Wout · rms_norm(x), for the rows whose logits are wanted
void output_block(const Model& model, Device& device);

}  // namespace deepwell::engine
