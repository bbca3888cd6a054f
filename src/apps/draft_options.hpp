// The options of guessing ahead: --draft-model, --draft-max, --draft-adaptive.
#pragma once

#include <cstdint>
#include <string>

#include "apps/command.hpp"
#include "base/options.hpp"
#include "engine/runtime/engine.hpp"

namespace deepwell::apps {

struct DraftOptions {
  std::string model;  // a name or a file; empty: none
  std::uint32_t n_max_tok = 8;
  bool is_adaptive = true;

  void declare(OptionTable& table);
  /// Whether the draft model, if there is one, may guess for the model file at `path`.
  /// Errors: those of model_path() and engine::check_draft_pair.
  Status check(const Context& context, const std::string& path) const;
  /// Fills in what the engine must know; its image directory is set already. Errors: those of model_path().
  Status apply(const Context& context, engine::EngineOptions& options) const;
};

}  // namespace deepwell::apps
