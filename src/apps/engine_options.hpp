// The options of every command that loads a model.
#pragma once

#include <string>

#include "apps/command.hpp"
#include "apps/packed_image.hpp"
#include "engine/runtime/loaded_model.hpp"
#include "engine/runtime/thread_choice.hpp"

namespace deepwell::apps {

struct EngineCommandOptions {
  std::string model;
  std::uint32_t n_threads = 0;
  std::uint32_t n_ctx_tok = 0;
  std::string kv_cache_type = "f16";

  void declare(OptionTable& table);
  /// Error: kInvalidArgument.
  Result<engine::KvType> kv_type() const;
  /// Finds the file and loads it, with progress on stderr if that is a terminal.
  /// `packed_image`: where packed weights are kept; null: in memory of this process.
  Result<engine::LoadedModel> load(const Context& context,
                                   const PackedImageOption* packed_image = nullptr) const;
};

/// Threads for an engine of which no number was given: kept in the home directory, measured if it is not (which takes half
/// a second) and `may_measure`.
engine::ThreadChoice choose_threads(const Context& context, bool may_measure = true);
/// What --threads means: the number, or for 0 what was chosen.
std::uint32_t n_threads_for(const Context& context, std::uint32_t n_threads);

/// Prints "loading MODEL 42%" over one line of stderr while a model loads; nothing where stderr is no terminal.
std::function<void(double)> loading_progress(const std::string& name);

}  // namespace deepwell::apps
