// What a loaded model says of itself.
#pragma once

#include <string>

#include "engine/runtime/generator.hpp"
#include "engine/runtime/loaded_model.hpp"

namespace deepwell::engine {

/// The tokenizer of the model's own vocabulary, every id of which has a row in the embedding.
Result<std::shared_ptr<const Tokenizer>> make_tokenizer(const LoadedModel& model);

/// Reads vocabulary and template out of the model file and makes the fingerprint. `content_sha256`
/// is the file's hash (64 hexadecimal digits); if empty, the loaded file is hashed.
Result<ModelDescription> describe_model(const std::string& name, const std::string& content_sha256,
                                        const LoadedModel& model);

/// Of weights, device family, type of keys and values, and numerics version: equal fingerprints mean equal tokens.
std::string model_fingerprint(const std::string& content_sha256, std::string_view device_family,
                              KvType kv_type);

}  // namespace deepwell::engine
