// From what the user calls a model to the file that holds it.
#pragma once

#include <string>

#include "apps/command.hpp"

namespace deepwell::apps {

/// The model file of `name`: a path to a GGUF file, or (full builds) the name of a model in the
/// store. Downloads nothing. Error: kNotFound, saying how to get it.
Result<std::string> model_path(const Context& context, const std::string& name);

/// SHA-256 of a model file, 64 hexadecimal digits; remembered where there is a store.
Result<std::string> model_sha256(const Context& context, const std::string& path);

}  // namespace deepwell::apps
