// From what the user calls a model to a file that is here, pulling it first if that is allowed.
#pragma once

#include <string>

#include "apps/command.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/store.hpp"

namespace deepwell::apps {

struct LocatedModel {
  std::string
      name;  // what requests call it: "qwen2.5-coder:0.5b", or a file's name without its end
  std::string path;    // of the GGUF file
  std::string sha256;  // of its content
};

enum class WhenAbsent { kFail, kPull };

/// `name`: a path to a GGUF file, a URL of one, a stored name, a catalogue name or alias, or `default`. Shows on
/// stderr what it pulls or hashes.
Result<LocatedModel> locate_model(const Context& context, const std::string& name,
                                  WhenAbsent when_absent);

/// Pulls `name` (as above) into the store; for a file or URL under the name `as`, if that is not empty.
Result<service::StoredModel> pull_model(const Context& context, const std::string& name,
                                        const std::string& as, bool is_forced, bool is_json);

}  // namespace deepwell::apps
