// Expected lengths of key pairs, from the weights.
#include "engine/model/key_scales.hpp"

#include <cmath>
#include <vector>

#include "base/concat.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine {

namespace {

/// All values of a tensor that the model may lack; empty if it does.
std::vector<float> values_of(const GgufTensor* tensor) {
  std::vector<float> values;
  if (tensor == nullptr) return values;
  values.resize(tensor->n_elements());
  decode_row(tensor->type, tensor->data.data(), values.size(), values.data());
  return values;
}

/// The dimension that rotation mixes with `d` of a head, or `d` itself.
std::uint32_t partner_of(std::uint32_t d, const RopeHyperParams& rope) {
  if (d >= rope.d_rope) return d;
  if (rope.kind == RopeKind::kInterleaved) return d ^ 1U;
  const std::uint32_t half = rope.d_rope / 2;
  return d < half ? d + half : d - half;
}

}  // namespace

Status add_key_scales(const GgufFile& file, const HyperParams& hyper, Device& device,
                      Weights& weights) {
  const std::uint32_t n_rows = hyper.n_kv_heads * hyper.d_head;
  std::vector<double> squares(n_rows);
  std::vector<float> row(hyper.d_model), scales(n_rows);
  for (std::uint32_t l = 0; l < hyper.n_layers; ++l) {
    const auto find = [&](std::string_view name) {
      return file.find_tensor(concat("blk.", l, ".", name));
    };
    const GgufTensor* wk = find("attn_k.weight");
    const std::vector<float> gain = values_of(find("attn_norm.weight"));
    const std::vector<float> bias = values_of(find("attn_k.bias"));
    if (wk == nullptr || gain.empty())
      return invalid_argument(concat("layer ", l, " has no key projection to take scales from"));
    const std::size_t row_bytes = wk->data.size() / n_rows;
    for (std::uint32_t r = 0; r < n_rows; ++r) {
      decode_row(wk->type, wk->data.data() + r * row_bytes, hyper.d_model, row.data());
      double sum = bias.empty() ? 0.0 : double{bias[r]} * bias[r];
      for (std::uint32_t k = 0; k < hyper.d_model; ++k) {
        const double weight = double{row[k]} * gain[k];
        sum += weight * weight;
      }
      squares[r] = sum;
    }
    for (std::uint32_t r = 0; r < n_rows; ++r) {
      const std::uint32_t d = r % hyper.d_head;
      const std::uint32_t partner = partner_of(d, hyper.rope);
      const double sum = partner == d ? squares[r] : squares[r] + squares[r - d + partner];
      const auto length = static_cast<float>(std::sqrt(sum));
      scales[r] = length > 0.0F && std::isfinite(length) ? length : 1.0F;
    }
    weights.layers[l].key_scale = device.add_vector(scales);
  }
  return {};
}

}  // namespace deepwell::engine
