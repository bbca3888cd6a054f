// Arch: what one architecture must say. A new one is a file that defines one of these and a line in list.cpp.
#pragma once

#include <span>
#include <string_view>

#include "engine/model/binder.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

struct Arch {
  std::string_view name;  // general.architecture in the file

  Result<HyperParams> (*read_hyper_params)(const GgufFile& file);
  /// Names and shapes of all weights.
  Status (*bind)(Binder& binder, const HyperParams& hyper, Weights& weights);
  /// One step: from token ids to logits of the output rows.
  void (*forward)(const Model& model, Device& device);
};

/// Every architecture there is.
std::span<const Arch* const> architectures();

/// Null if unknown.
const Arch* find_architecture(std::string_view name);

}  // namespace deepwell::engine
