// Where a model's packed weights lie on disk between runs.
#pragma once

#include <cstdint>
#include <string>

#include "base/log.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::engine {

struct ImageFile {
  std::string path;
  ScopedFd fd;              // not open: there is none
  bool is_on_disk = false;  // not on a file system of memory
};

std::string image_path(const std::string& directory, const std::string& content_sha256);

/// Opens the file image_path(), made if there is room for it beside what the disk should keep free. None, with a
/// note in the log, if there is no room or no permission: the model then is packed at every start.
ImageFile open_image_file(const std::string& directory, const std::string& content_sha256,
                          std::uint64_t n_model_bytes, Log& log);

}  // namespace deepwell::engine
