// Engine-only builds read no configuration file.
#include "apps/common_options.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {

Result<std::vector<NamedValue>> read_config_file(const std::string& path) {
  return Error{Code::kUnimplemented,
               concat("this engine-only build cannot read ", path,
                      ": use flags or DEEPWELL_ variables, or remove the file")};
}

}  // namespace deepwell::apps
