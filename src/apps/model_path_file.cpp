// Engine-only builds know no store: a model is a file.
#include "apps/model_path.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {

Result<std::string> model_path(const Context&, const std::string& name) {
  if (is_file(name)) return name;
  return not_found(
      concat("no model file '", name, "': this engine-only build wants the path of a GGUF file"));
}

}  // namespace deepwell::apps
