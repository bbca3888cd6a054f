// Where images of packed weights lie.
#include "apps/packed_image.hpp"

#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/runtime/image_file.hpp"

namespace deepwell::apps {

namespace {
std::string image_directory(const Context& context) { return join_path(context.home, "images"); }
}  // namespace

void PackedImageOption::declare(OptionTable& table) {
  table.add_text(
      "--packed-image", &mode, "auto|off",
      {"keep packed weights on disk, for quick starts and shared memory, where there is room",
       "在磁盘上保留打包后的权重（空间足够时），使启动更快并可共享内存"});
}

Result<std::string> PackedImageOption::directory(const Context& context) const {
  if (mode == "off") return std::string();
  if (mode != "auto")
    return invalid_argument(concat("--packed-image ", mode, " is unknown; use auto or off"));
  std::string directory = image_directory(context);
  DW_TRY(make_directories(directory, 0700));
  return directory;
}

Status remove_packed_image(const Context& context, const std::string& sha256) {
  if (sha256.empty()) return {};
  return remove_file(engine::image_path(image_directory(context), sha256));
}

}  // namespace deepwell::apps
