// Reading and checking of hyper-parameters; bounds keep every later product far from overflow.
#include "engine/model/hyper_params.hpp"

#include "base/concat.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine {

namespace {

class Reader {
 public:
  Reader(const GgufFile& file, std::string_view arch) : file_(file), arch_(arch) {}

  std::string key(std::string_view name) const { return concat(arch_, ".", name); }
  bool has(std::string_view name) const { return file_.has(key(name)); }

  Result<std::uint32_t> count(std::string_view name, std::uint64_t most) const {
    DW_ASSIGN(const std::uint64_t value, file_.get_uint(key(name)));
    if (value == 0 || value > most) {
      return invalid_argument(concat(key(name), " = ", value, " is not within 1..", most));
    }
    return static_cast<std::uint32_t>(value);
  }
  Result<std::uint32_t> count_or(std::string_view name, std::uint64_t most,
                                 std::uint32_t fallback) const {
    if (!has(name)) return fallback;
    return count(name, most);
  }
  Result<double> positive(std::string_view name) const {
    DW_ASSIGN(const double value, file_.get_float(key(name)));
    if (!(value > 0.0 && value < 1e12))
      return invalid_argument(concat(key(name), " = ", value, " is not positive"));
    return value;
  }
  Result<double> positive_or(std::string_view name, double fallback) const {
    if (!has(name)) return fallback;
    return positive(name);
  }

 private:
  const GgufFile& file_;
  std::string_view arch_;
};

Status read_scaling(const GgufFile& file, const Reader& reader, const HyperParams& hyper,
                    RopeHyperParams& rope) {
  // Files older than the type key name only a factor, under either key, and mean linear.
  const bool has_type = reader.has("rope.scaling.type");
  const bool has_old_factor = reader.has("rope.scaling.factor") || reader.has("rope.scale_linear");
  if (has_type || has_old_factor) {
    std::string_view type = "linear";
    if (has_type) {
      DW_ASSIGN(type, file.get_string(reader.key("rope.scaling.type")));
    }
    if (type == "linear") {
      rope.scaling = RopeHyperParams::Scaling::kLinear;
    } else if (type == "yarn") {
      rope.scaling = RopeHyperParams::Scaling::kYarn;
    } else if (type != "none") {
      return Error{Code::kUnimplemented, concat(reader.key("rope.scaling.type"), " = ", type,
                                                " is not supported; none, linear and yarn are")};
    }
    DW_ASSIGN(const double old_factor, reader.positive_or("rope.scale_linear", 1.0));
    DW_ASSIGN(rope.factor, reader.positive_or("rope.scaling.factor", old_factor));
    DW_ASSIGN(rope.attention_factor, reader.positive_or("rope.scaling.attn_factor", 1.0));
    DW_ASSIGN(rope.beta_fast, reader.positive_or("rope.scaling.yarn_beta_fast", rope.beta_fast));
    DW_ASSIGN(rope.beta_slow, reader.positive_or("rope.scaling.yarn_beta_slow", rope.beta_slow));
    DW_ASSIGN(rope.n_ctx_original_tok, reader.count_or("rope.scaling.original_context_length",
                                                       1U << 30, hyper.n_ctx_train_tok));
  }
  if (const GgufTensor* factors = file.find_tensor("rope_freqs.weight")) {
    if (factors->n_elements() != rope.d_rope / 2 || factors->type != QuantType::F32) {
      return invalid_argument(concat("tensor rope_freqs.weight has ", factors->n_elements(),
                                     " values, expected ", rope.d_rope / 2, " of type F32"));
    }
    rope.freq_factors.resize(rope.d_rope / 2);
    decode_row(QuantType::F32, factors->data.data(), rope.freq_factors.size(),
               rope.freq_factors.data());
    for (const float factor : rope.freq_factors) {
      if (!(factor > 0.0F))
        return invalid_argument(concat("rope_freqs.weight holds ", factor, ", expected above 0"));
    }
  }
  return {};
}

}  // namespace

Result<HyperParams> read_transformer_hyper_params(const GgufFile& file, std::string_view arch,
                                                  RopeKind rope_kind) {
  const Reader reader(file, arch);
  HyperParams hyper;
  DW_ASSIGN(hyper.n_layers, reader.count("block_count", 1024));
  DW_ASSIGN(hyper.n_ctx_train_tok, reader.count("context_length", 1U << 27));
  DW_ASSIGN(hyper.d_model, reader.count("embedding_length", 1U << 17));
  DW_ASSIGN(hyper.d_ff, reader.count("feed_forward_length", 1U << 20));
  DW_ASSIGN(hyper.n_heads, reader.count("attention.head_count", 4096));
  DW_ASSIGN(hyper.n_kv_heads, reader.count_or("attention.head_count_kv", 4096, hyper.n_heads));
  DW_ASSIGN(hyper.d_head,
            reader.count_or("attention.key_length", 1024, hyper.d_model / hyper.n_heads));
  DW_ASSIGN(const std::uint32_t d_value,
            reader.count_or("attention.value_length", 1024, hyper.d_head));
  DW_ASSIGN(const double eps, reader.positive("attention.layer_norm_rms_epsilon"));
  hyper.rms_eps = static_cast<float>(eps);
  if (hyper.n_heads % hyper.n_kv_heads != 0 || hyper.n_heads / hyper.n_kv_heads > 64) {
    return invalid_argument(concat(hyper.n_heads, " query heads over ", hyper.n_kv_heads,
                                   " key/value heads: expected a whole ratio of at most 64"));
  }
  if (d_value != hyper.d_head) {
    return Error{Code::kUnimplemented,
                 concat("value heads of ", d_value, " beside key heads of ", hyper.d_head)};
  }
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 || embedding->shape[0] > (1U << 24)) {
    return invalid_argument(
        "tensor token_embd.weight is missing or not a matrix; the file is no language model");
  }
  hyper.n_vocab = static_cast<std::uint32_t>(embedding->shape[0]);

  hyper.rope.kind = rope_kind;
  DW_ASSIGN(hyper.rope.d_rope, reader.count_or("rope.dimension_count", hyper.d_head, hyper.d_head));
  DW_ASSIGN(hyper.rope.freq_base, reader.positive_or("rope.freq_base", 10000.0));
  if (hyper.rope.d_rope % 2 != 0) {
    return invalid_argument(
        concat(reader.key("rope.dimension_count"), " = ", hyper.rope.d_rope, " is odd"));
  }
  DW_TRY(read_scaling(file, reader, hyper, hyper.rope));
  return hyper;
}

}  // namespace deepwell::engine
