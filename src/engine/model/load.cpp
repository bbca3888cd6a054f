// Loading: hyper-parameters, weights, tables, buffers.
#include <utility>

#include "base/concat.hpp"
#include "engine/model/arch/arch.hpp"
#include "engine/model/key_scales.hpp"
#include "engine/model/model.hpp"
#include "engine/model/rope_table.hpp"

namespace deepwell::engine {

Result<std::unique_ptr<Model>> Model::load(
    std::unique_ptr<GgufFile> file, std::uint32_t n_ctx_tok, KvType kv_type, Device& device,
    const std::function<void(double fraction)>& on_progress) {
  DW_ASSIGN(const std::string_view name, file->get_string("general.architecture"));
  auto model = std::make_unique<Model>();
  model->arch = find_architecture(name);
  if (model->arch == nullptr) {
    std::string known;
    for (const Arch* arch : architectures()) known += concat(known.empty() ? "" : ", ", arch->name);
    return Error{Code::kUnimplemented,
                 concat("architecture '", name, "' is not supported yet; supported: ", known)};
  }
  DW_ASSIGN(model->hyper, model->arch->read_hyper_params(*file));
  const HyperParams& hyper = model->hyper;

  Binder binder(*file, device, on_progress);
  DW_TRY(model->arch->bind(binder, hyper, model->weights));
  DW_TRY(binder.check_all_used());
  if (kv_type == KvType::kQ8) DW_TRY(add_key_scales(*file, hyper, device, model->weights));
  for (const GgufTensor& tensor : file->tensors()) model->n_params += tensor.n_elements();

  model->rope_table = make_rope_table(hyper.rope, n_ctx_tok);
  Buffers& b = model->buffers;
  DW_ASSIGN(b.x, device.add_rows(hyper.d_model));
  DW_ASSIGN(b.q, device.add_rows(hyper.n_heads * hyper.d_head));
  DW_ASSIGN(b.k, device.add_rows(hyper.n_kv_heads * hyper.d_head));
  DW_ASSIGN(b.v, device.add_rows(hyper.n_kv_heads * hyper.d_head));
  DW_ASSIGN(b.y, device.add_rows(hyper.d_model));
  DW_ASSIGN(b.logits, device.add_rows(hyper.n_vocab));
  model->file = std::move(file);
  return model;
}

}  // namespace deepwell::engine
