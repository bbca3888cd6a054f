// Tiny seeded models against the logits that transformers computes from the same weights, in double precision.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/quant/codec.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

/// Logits of every position, [n_tokens, n_vocab].
std::vector<float> all_logits(LoadedModel& model, std::span<const TokenId> tokens) {
  std::vector<std::uint32_t> blocks;
  model.blocks.take((static_cast<std::uint32_t>(tokens.size()) + 15) / 16, blocks);
  StepBatch batch;
  batch.add(tokens, 0, blocks, Outputs::kAll);
  model.forward(batch);
  std::vector<float> logits;
  for (std::uint32_t i = 0; i < tokens.size(); ++i) {
    const auto row = model.logits(i);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  model.blocks.release(blocks);
  return logits;
}

bool has_quantised_weights(const GgufFile& file) {
  for (const GgufTensor& tensor : file.tensors()) {
    if (block_shape(tensor.type).n_elements > 1) return true;
  }
  return false;
}

/// ‖row‖₂ of the output matrix: what turns an error of the normalised residual stream into one of a logit.
std::vector<double> output_row_norms(const GgufFile& file) {
  const GgufTensor* tensor = file.find_tensor("output.weight");
  if (tensor == nullptr) tensor = file.find_tensor("token_embd.weight");
  const auto n_in = static_cast<std::size_t>(tensor->shape[1]);
  std::vector<float> row(n_in);
  std::vector<double> norms;
  for (std::size_t r = 0; r < tensor->shape[0]; ++r) {
    decode_row(tensor->type, tensor->data.data() + r * (tensor->data.size() / tensor->shape[0]),
               n_in, row.data());
    double sum = 0.0;
    for (const float v : row) sum += double{v} * v;
    norms.push_back(std::sqrt(sum));
  }
  return norms;
}

/// The relative error that one layer may add to the residual stream: roundings along its longest chains of additions,
/// and for quantised weights the rounding of the activations of each of its four products.
double relative_error_per_layer(const HyperParams& hp, bool is_quantised) {
  const double n_additions = 2.0 * hp.d_model + hp.n_heads * hp.d_head + hp.d_ff + 512.0;
  const double rounding = n_additions * 0x1p-24;
  // An int8 activation is off by at most half a step, amax/254; uniformly spread that is amax/254/√3 rms, and a block
  // of 32 normal values has amax ≈ 2.5 rms (3 at most, nearly always).
  const double quantising = 4.0 * 3.0 / 254.0 / std::sqrt(3.0);
  return rounding + (is_quantised ? quantising : 0.0);
}

TEST(TinyModels, GiveTheLogitsOfTransformers) {
  const auto goldens = read_tiny_goldens();
  ASSERT_GE(goldens.size(), 21U);
  for (const TinyGolden& golden : goldens) {
    // Keys and values as f32: f16 would hide errors of a thousandth behind its own rounding.
    LoadedModel model = load_or_die(
        {.path = golden.path(), .n_threads = 1, .n_max_rows = 512, .kv_type = KvType::kF32});
    const std::vector<float> all = all_logits(model, golden.tokens);
    const HyperParams& hp = model.model->hyper;
    const bool is_quantised = has_quantised_weights(*model.model->file);
    const std::vector<double> norms = output_row_norms(*model.model->file);
    // The normalised stream has norm √d_model (times the gain, which is near 1 here). Errors of the layers are
    // independent, so they add up in squares; 6 deviations for the worst of some ten thousand logits.
    const double relative =
        relative_error_per_layer(hp, is_quantised) * std::sqrt(double(hp.n_layers) + 1.0);
    double worst = 0.0, worst_ratio = 0.0;
    std::size_t worst_cell = 0;
    for (std::size_t i = 0; i < golden.logits.size(); ++i) {
      const double error = std::fabs(
          double{all[std::size_t{golden.first_position} * golden.n_vocab + i]} - golden.logits[i]);
      const double tolerance = 6.0 * relative * norms[i % golden.n_vocab];
      if (error / tolerance > worst_ratio) {
        worst_ratio = error / tolerance;
        worst = error;
        worst_cell = i;
      }
    }
    std::printf("%-32s worst at position %zu token %zu: error %.2e, %.3f of the tolerance\n",
                golden.name.c_str(), golden.first_position + worst_cell / golden.n_vocab,
                worst_cell % golden.n_vocab, worst, worst_ratio);
    EXPECT_LE(worst_ratio, 1.0) << golden.name;
  }
}

TEST(TinyModels, CoverEveryWeightType) {
  std::set<QuantType> types;
  for (const TinyGolden& golden : read_tiny_goldens()) {
    const auto file = GgufFile::open(golden.path());
    ASSERT_TRUE(file) << golden.name;
    for (const GgufTensor& tensor : (*file)->tensors()) {
      if (tensor.shape.size() == 2) types.insert(tensor.type);
    }
  }
  for (const QuantType type : kQuantTypes)
    EXPECT_TRUE(types.contains(type)) << quant_type_name(type);
}

TEST(LoadedModel, RefusesWhatItCannotRun) {
  const TinyGolden golden = read_tiny_goldens().front();
  EXPECT_EQ(Code::kNotFound, LoadedModel::load({.path = "/nowhere.gguf"}).error().code);
  const auto too_long = LoadedModel::load({.path = golden.path(), .n_ctx_tok = 100'000});
  ASSERT_FALSE(too_long);
  EXPECT_NE(std::string::npos, too_long.error().message.find("100000")) << too_long.error().message;
}

}  // namespace
}  // namespace deepwell::engine
