// Looking up, checking and handing over tensors.
#include "engine/model/binder.hpp"

#include "base/concat.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine {

Binder::Binder(const GgufFile& file, Device& device, std::function<void(double)> on_progress)
    : file_(file),
      device_(device),
      on_progress_(std::move(on_progress)),
      is_used_(file.tensors().size(), false) {
  for (const GgufTensor& tensor : file.tensors()) n_bytes_ += tensor.data.size();
}

std::string Binder::in_layer(std::string_view name) const {
  return concat("blk.", layer_, ".", name);
}

void Binder::mark_used(std::string_view name) {
  if (const GgufTensor* tensor = file_.find_tensor(name)) {
    is_used_[static_cast<std::size_t>(tensor - file_.tensors().data())] = true;
  }
}

void Binder::report(const GgufTensor& tensor) {
  n_bytes_done_ += tensor.data.size();
  if (on_progress_)
    on_progress_(static_cast<double>(n_bytes_done_) / static_cast<double>(n_bytes_));
}

/// `n_in` is 0 for a vector of n_out.
Result<const GgufTensor*> Binder::find(std::string_view name, std::uint32_t n_out,
                                       std::uint32_t n_in) {
  const GgufTensor* tensor = file_.find_tensor(name);
  if (tensor == nullptr) {
    return invalid_argument(
        concat("the model file lacks tensor ", name, "; it is damaged or of another architecture"));
  }
  mark_used(name);
  const auto& shape = tensor->shape;
  const bool is_right = n_in == 0 ? shape.size() == 1 && shape[0] == n_out
                                  : shape.size() == 2 && shape[0] == n_out && shape[1] == n_in;
  if (!is_right) {
    std::string actual;
    for (const std::uint64_t n : shape) actual += concat(actual.empty() ? "" : " x ", n);
    return invalid_argument(concat("tensor ", name, " is ", actual,
                                   " where the hyper-parameters say ", n_out,
                                   n_in == 0 ? "" : concat(" x ", n_in)));
  }
  return tensor;
}

Result<Weight> Binder::matrix(std::string_view name, std::uint32_t n_out, std::uint32_t n_in) {
  DW_ASSIGN(const GgufTensor* tensor, find(name, n_out, n_in));
  auto weight = device_.add_weight(tensor->type, n_out, n_in, tensor->data);
  if (!weight)
    return Error{weight.error().code, concat("tensor ", name, ": ", weight.error().message)};
  report(*tensor);
  return weight;
}

Result<Weight> Binder::embedding(std::string_view name, std::uint32_t n_out, std::uint32_t n_in,
                                 bool is_tied) {
  DW_ASSIGN(const GgufTensor* tensor, find(name, n_out, n_in));
  auto weight = device_.add_embedding(tensor->type, n_out, n_in, tensor->data, is_tied);
  if (!weight)
    return Error{weight.error().code, concat("tensor ", name, ": ", weight.error().message)};
  report(*tensor);
  return weight;
}

Result<Vector> Binder::vector(std::string_view name, std::uint32_t n) {
  DW_ASSIGN(const GgufTensor* tensor, find(name, n, 0));
  std::vector<float> values(n);
  decode_row(tensor->type, tensor->data.data(), n, values.data());
  report(*tensor);
  return device_.add_vector(values);
}

Result<Vector> Binder::optional_vector(std::string_view name, std::uint32_t n) {
  if (!has(name)) return Vector{};
  return vector(name, n);
}

Status Binder::check_all_used() const {
  for (std::size_t i = 0; i < is_used_.size(); ++i) {
    if (!is_used_[i]) {
      return Error{Code::kUnimplemented,
                   concat("tensor ", file_.tensors()[i].name,
                          " has no meaning in this architecture; running the model "
                          "without it would give wrong answers")};
    }
  }
  return {};
}

}  // namespace deepwell::engine
