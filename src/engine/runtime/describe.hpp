// What a loaded model says of itself.
#pragma once

#include <string>

#include "engine/runtime/generator.hpp"
#include "engine/runtime/loaded_model.hpp"

namespace deepwell::engine {

/// Reads vocabulary and template out of the model file and makes the fingerprint. `content_sha256` is the file's
/// hash (64 hexadecimal digits); if empty, the file at `path` is hashed.
Result<ModelDescription> describe_model(const std::string& name, const std::string& path,
                                        const std::string& content_sha256,
                                        const LoadedModel& model);

/// Of weights, device family and numerics version: equal fingerprints mean equal tokens.
std::string model_fingerprint(const std::string& content_sha256, std::string_view device_family);

}  // namespace deepwell::engine
