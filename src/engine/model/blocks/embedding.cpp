// Binding of the embedding, running of the output projection.
#include "engine/model/blocks/embedding.hpp"

namespace deepwell::engine {

Status bind_embedding(Binder& binder, const HyperParams& hyper, Weights& weights) {
  const bool is_tied = !binder.has("output.weight");
  DW_ASSIGN(weights.token_embd,
            binder.embedding("token_embd.weight", hyper.n_vocab, hyper.d_model, is_tied));
  weights.output = weights.token_embd;
  if (!is_tied) {
    DW_ASSIGN(weights.output, binder.matrix("output.weight", hyper.n_vocab, hyper.d_model));
  }
  DW_ASSIGN(weights.output_norm, binder.vector("output_norm.weight", hyper.d_model));
  weights.layers.resize(hyper.n_layers);
  binder.mark_used("rope_freqs.weight");  // read with the hyper-parameters
  return {};
}

void output_block(const Model& model, Device& device) {
  const Buffers& b = model.buffers;
  device.gather_rows(b.x, b.y);
  const Act h = device.norm_act(b.y, model.weights.output_norm, model.hyper.rms_eps);
  const LinearOut logits{model.weights.output, {}, b.logits};
  device.linear(h, {&logits, 1});
}

}  // namespace deepwell::engine
