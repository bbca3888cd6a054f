// Whether a worker has said something that this process has not read yet.
#pragma once

#include <string>

namespace deepwell::cluster {

/// Whether bytes wait in any socket of this process that is connected to `address` ("unix:/path" or "host:port"; of the
/// latter the port alone is compared). Looks through all descriptors: for rare occasions. False if it cannot be told.
bool has_unread_bytes(const std::string& address);

}  // namespace deepwell::cluster
