// Reading hyper-parameters of transformer architectures from a model file.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "engine/model/model.hpp"

namespace deepwell::engine {

/// The keys "<arch>.block_count", ... that Llama-like architectures share, checked for sense.
/// Errors: kInvalidArgument, kNotFound, kUnimplemented (an unknown RoPE scaling); messages name the key and value.
Result<HyperParams> read_transformer_hyper_params(const GgufFile& file, std::string_view arch,
                                                  RopeKind rope_kind);

}  // namespace deepwell::engine
