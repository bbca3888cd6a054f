// Loading a draft model beside the model that it guesses for.
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"
#include "engine/gguf/gguf.hpp"
#include "engine/runtime/loaded_model.hpp"

namespace deepwell::engine {

struct DraftModelOptions {
  std::string path;            // of a GGUF file; empty: no draft model
  std::string content_sha256;  // of the file, for its packed image; empty: it has none
  bool is_adaptive = true;     // see ModelDrafterOptions
};

/// Compares the vocabularies of two model files token by token. Ids that only one of them has are padding, of which
/// there may be some hundreds; those that both call unused may differ. Error: kInvalidArgument, naming the first id that
/// differs.
Status check_draft_pair(const GgufFile& model, const GgufFile& draft);

/// With threads, contexts and types as `model` says, which is loaded afterwards: on the same pool, and in what memory
/// the draft leaves (leave_room_for). None: no draft model was asked for, or it does not fit into memory beside the
/// model, which the log tells. Errors: those of LoadedModel::load and check_draft_pair.
Result<std::optional<LoadedModel>> load_draft_model(const DraftModelOptions& options,
                                                    const LoadOptions& model);
/// Tells the model's options what the loaded draft has.
void leave_room_for(const LoadedModel& draft, LoadOptions& model);

}  // namespace deepwell::engine
