// The option --packed-image: whether packed weights are kept on disk for the next start.
#pragma once

#include <string>

#include "apps/command.hpp"
#include "base/options.hpp"

namespace deepwell::apps {

struct PackedImageOption {
  std::string mode = "auto";

  void declare(OptionTable& table);
  /// Where images lie, made if it is absent; empty if none shall be kept.
  /// Errors: kInvalidArgument (neither auto nor off); those of make_directories().
  Result<std::string> directory(const Context& context) const;
};

/// Removes the image of a model that is removed; none there is fine. `sha256` is the model file's.
Status remove_packed_image(const Context& context, const std::string& sha256);

}  // namespace deepwell::apps
