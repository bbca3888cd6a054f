// Binding and running of the SwiGLU layer.
#include "engine/model/blocks/mlp.hpp"

namespace deepwell::engine {

Status bind_mlp(Binder& binder, const HyperParams& hyper, LayerWeights& layer) {
  DW_ASSIGN(layer.ffn_norm, binder.vector(binder.in_layer("ffn_norm.weight"), hyper.d_model));
  DW_ASSIGN(layer.w_gate,
            binder.matrix(binder.in_layer("ffn_gate.weight"), hyper.d_ff, hyper.d_model));
  DW_ASSIGN(layer.w_up, binder.matrix(binder.in_layer("ffn_up.weight"), hyper.d_ff, hyper.d_model));
  DW_ASSIGN(layer.w_down,
            binder.matrix(binder.in_layer("ffn_down.weight"), hyper.d_model, hyper.d_ff));
  return {};
}

void mlp_block(const Model& model, std::uint32_t l, Device& device) {
  const LayerWeights& w = model.weights.layers[l];
  const Act h = device.norm_act(model.buffers.x, w.ffn_norm, model.hyper.rms_eps);
  const Act u = device.linear_glu(h, w.w_gate, w.w_up);
  device.linear_add(u, w.w_down, {}, model.buffers.x);
}

}  // namespace deepwell::engine
