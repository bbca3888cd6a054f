// Binding and running of grouped-query attention.
#include "engine/model/blocks/attention.hpp"

#include <cmath>

namespace deepwell::engine {

Status bind_attention(Binder& binder, const HyperParams& hyper, LayerWeights& layer, Bias bias) {
  const std::uint32_t d_q = hyper.n_heads * hyper.d_head;
  const std::uint32_t d_kv = hyper.n_kv_heads * hyper.d_head;
  const auto bias_of = [&](std::string_view name, std::uint32_t n) {
    return bias == Bias::kRequired ? binder.vector(binder.in_layer(name), n)
                                   : binder.optional_vector(binder.in_layer(name), n);
  };
  DW_ASSIGN(layer.attn_norm, binder.vector(binder.in_layer("attn_norm.weight"), hyper.d_model));
  DW_ASSIGN(layer.wq, binder.matrix(binder.in_layer("attn_q.weight"), d_q, hyper.d_model));
  DW_ASSIGN(layer.wk, binder.matrix(binder.in_layer("attn_k.weight"), d_kv, hyper.d_model));
  DW_ASSIGN(layer.wv, binder.matrix(binder.in_layer("attn_v.weight"), d_kv, hyper.d_model));
  DW_ASSIGN(layer.bq, bias_of("attn_q.bias", d_q));
  DW_ASSIGN(layer.bk, bias_of("attn_k.bias", d_kv));
  DW_ASSIGN(layer.bv, bias_of("attn_v.bias", d_kv));
  DW_ASSIGN(layer.wo, binder.matrix(binder.in_layer("attn_output.weight"), hyper.d_model, d_q));
  DW_ASSIGN(layer.bo, binder.optional_vector(binder.in_layer("attn_output.bias"), hyper.d_model));
  return {};
}

void attention_block(const Model& model, std::uint32_t l, Device& device) {
  const LayerWeights& w = model.weights.layers[l];
  const HyperParams& hp = model.hyper;
  const Buffers& b = model.buffers;
  const RopeParams rope{
      .kind = hp.rope.kind, .d_rope = hp.rope.d_rope, .cos_sin = model.rope_table.data()};
  const AttentionParams params{.layer = l,
                               .n_heads = hp.n_heads,
                               .n_kv_heads = hp.n_kv_heads,
                               .d_head = hp.d_head,
                               .scale = 1.0F / std::sqrt(static_cast<float>(hp.d_head)),
                               .key_scale = w.key_scale};

  const Act h = device.norm_act(b.x, w.attn_norm, hp.rms_eps);
  const LinearOut qkv[] = {{w.wq, w.bq, b.q}, {w.wk, w.bk, b.k}, {w.wv, w.bv, b.v}};
  device.linear(h, qkv);
  device.rope_store(b.q, b.k, b.v, rope, params);
  const Act o = device.attention(b.q, params);
  device.linear_add(o, w.wo, w.bo, b.x);
}

}  // namespace deepwell::engine
