// Engine-only builds know no store: a model is a file.
#include "apps/model_path.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/sha256.hpp"

namespace deepwell::apps {

Result<std::string> model_path(const Context&, const std::string& name) {
  if (is_file(name)) return name;
  return not_found(
      concat("no model file '", name, "': this engine-only build wants the path of a GGUF file"));
}

Result<std::string> model_sha256(const Context&, const std::string& path) {
  DW_ASSIGN(const MappedFile file, MappedFile::open(path));
  Sha256 hash;
  hash.update(file.bytes());
  return hash.hex_digest();
}

}  // namespace deepwell::apps
