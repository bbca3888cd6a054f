// Qwen2 and Qwen2.5 (Yang et al. 2024), also DeepSeek-R1-Distill-Qwen: as Llama, with biases on q, k and v, and
// rotation by halves.
#include "engine/model/arch/arch.hpp"
#include "engine/model/blocks/attention.hpp"
#include "engine/model/blocks/embedding.hpp"
#include "engine/model/blocks/mlp.hpp"
#include "engine/model/hyper_params.hpp"

namespace deepwell::engine {

namespace {

Result<HyperParams> read(const GgufFile& file) {
  return read_transformer_hyper_params(file, "qwen2", RopeKind::kHalves);
}

Status bind(Binder& binder, const HyperParams& hyper, Weights& weights) {
  DW_TRY(bind_embedding(binder, hyper, weights));
  for (LayerWeights& layer : weights.layers) {
    DW_TRY(bind_attention(binder, hyper, layer, Bias::kRequired));
    DW_TRY(bind_mlp(binder, hyper, layer));
    binder.next_layer();
  }
  return {};
}

void forward(const Model& m, Device& device) {
  device.embed_rows(m.weights.token_embd, m.buffers.x);
  for (std::uint32_t l = 0; l < m.hyper.n_layers; ++l) {
    attention_block(m, l, device);
    mlp_block(m, l, device);
    device.layer_done();
  }
  output_block(m, device);
}

}  // namespace

extern const Arch kArch_qwen2 = {
    .name = "qwen2", .read_hyper_params = read, .bind = bind, .forward = forward};

}  // namespace deepwell::engine
