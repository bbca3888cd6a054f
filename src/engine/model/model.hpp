// A model's data: hyper-parameters, weights and working buffers. Read this first.
//
//   auto model = Model::load(path, {.device = std::move(device)}, log);
//   device.begin_step(step);  model.arch->forward(model, device);  device.read_row(model.buffers.logits, 0);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "engine/device/device.hpp"
#include "engine/gguf/gguf.hpp"

namespace deepwell::engine {

/// How positions are rotated into queries and keys (RoPE, Su et al. 2021), with the usual ways to stretch it.
struct RopeHyperParams {
  enum class Scaling : std::uint8_t { kNone, kLinear, kYarn };
  RopeKind kind = RopeKind::kHalves;
  std::uint32_t d_rope = 0;
  double freq_base = 10000.0;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;  // positions are divided by it (linear), or some frequencies are (YaRN)
  double attention_factor = 1.0;  // YaRN: multiplies cos and sin, beside its own 1 + 0.1 ln(factor)
  std::uint32_t n_ctx_original_tok = 0;  // YaRN: the context before stretching
  double beta_fast = 32.0, beta_slow = 1.0;
  std::vector<float> freq_factors;  // [d_rope/2] Llama 3's: divides each frequency; may be empty
};

struct HyperParams {
  std::uint32_t n_layers = 0;
  std::uint32_t n_vocab = 0;
  std::uint32_t n_ctx_train_tok = 0;
  std::uint32_t d_model = 0;
  std::uint32_t d_ff = 0;
  std::uint32_t n_heads = 0;
  std::uint32_t n_kv_heads = 0;
  std::uint32_t d_head = 0;
  float rms_eps = 0.0F;
  RopeHyperParams rope;
};

struct LayerWeights {
  Vector attn_norm;     // [d_model]
  Weight wq;            // [n_heads * d_head, d_model]
  Weight wk, wv;        // [n_kv_heads * d_head, d_model]
  Vector bq, bk, bv;    // biases of the same lengths; some architectures have none
  Vector key_scale;     // [n_kv_heads * d_head] of 8-bit keys (key_scales.hpp); else none
  Weight wo;            // [d_model, n_heads * d_head]
  Vector bo;            // [d_model]; mostly none
  Vector ffn_norm;      // [d_model]
  Weight w_gate, w_up;  // [d_ff, d_model]
  Weight w_down;        // [d_model, d_ff]
};

struct Weights {
  Weight token_embd;  // [n_vocab, d_model]
  std::vector<LayerWeights> layers;
  Vector output_norm;  // [d_model]
  Weight output;       // [n_vocab, d_model]; the embedding itself if tied
};

/// Working rows of a step.
struct Buffers {
  Rows x;       // [n_rows, d_model] the residual stream
  Rows q;       // [n_rows, n_heads * d_head]
  Rows k, v;    // [n_rows, n_kv_heads * d_head]
  Rows y;       // [n_outputs, d_model] rows whose logits are wanted
  Rows logits;  // [n_outputs, n_vocab]
};

struct Arch;

struct Model {
  const Arch* arch = nullptr;
  HyperParams hyper;
  Weights weights;
  Buffers buffers;
  std::vector<float> rope_table;   // [n_ctx, d_rope/2, 2] (cos, sin)
  std::unique_ptr<GgufFile> file;  // stays open: an untied embedding is read in place
  std::uint64_t n_params = 0;

  /// Reads hyper-parameters, binds every tensor of the file to the device and makes the buffers.
  /// `n_ctx_tok` is the longest sequence to be served, `kv_type` how keys and values will be kept. Errors: kUnimplemented (architecture, tensor type),
  /// kInvalidArgument (hyper-parameters or shapes that do not fit; a tensor that nobody would read).
  static Result<std::unique_ptr<Model>> load(
      std::unique_ptr<GgufFile> file, std::uint32_t n_ctx_tok, KvType kv_type, Device& device,
      const std::function<void(double fraction)>& on_progress);
};

}  // namespace deepwell::engine
