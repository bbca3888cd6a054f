// The SHA-256 of a model file, computed once and remembered while the file stays the same.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/cancel.hpp"
#include "base/result.hpp"

namespace deepwell::service {

/// Called now and then with how far a long step is; `n_total` is 0 while unknown.
using Progress = std::function<void(std::uint64_t n_done, std::uint64_t n_total)>;

/// Reads the whole file: 64 lower-case hexadecimal digits. Error: kCancelled.
Result<std::string> hash_file(const std::string& path, const Progress& progress = {},
                              CancelToken cancel = {});

/// As hash_file, but remembered in `<home>/hashes/` for as long as device, inode, size and time of
/// change of the file stay what they were. A memory that cannot be written is no error.
Result<std::string> content_hash(const std::string& home, const std::string& path,
                                 const Progress& progress = {}, CancelToken cancel = {});

/// Notes a hash that was just computed for `path`.
Status remember_hash(const std::string& home, const std::string& path, const std::string& sha256);

}  // namespace deepwell::service
