// Content hashes and their memory. One small text file each: "device inode bytes mtime_ns sha256
// path".
#include "service/models/content_hash.hpp"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/sha256.hpp"

namespace deepwell::service {

namespace {

/// One file can be named in several ways; its memory goes by the real path.
std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real == nullptr ? path : std::string(real.get());
}

std::string memory_path(const std::string& home, const std::string& path) {
  return join_path(join_path(home, "hashes"), sha256_hex(real_path(path)).substr(0, 32));
}

std::string memory_prefix(const FileIdentity& file) {
  return concat(file.device, " ", file.inode, " ", file.n_bytes, " ", file.mtime_ns, " ");
}

}  // namespace

Result<std::string> hash_file(const std::string& path, const Progress& progress,
                              CancelToken cancel) {
  constexpr std::size_t kChunk = 1 << 20;
  DW_ASSIGN(const FileIdentity file, identify_file(path));
  // Read, not mapped: a file that somebody shortens meanwhile gives an error here and not a SIGBUS.
  DW_ASSIGN(FileReader reader, FileReader::open(path));
  std::vector<char> buffer(kChunk);
  Sha256 hash;
  std::uint64_t n_done = 0;
  while (true) {
    if (cancel.stop_requested()) return Error{Code::kCancelled, "interrupted"};
    if (progress) progress(n_done, file.n_bytes);
    DW_ASSIGN(const std::size_t n, reader.read(buffer));
    if (n == 0) return hash.hex_digest();
    hash.update(std::string_view(buffer.data(), n));
    n_done += n;
  }
}

Result<std::string> content_hash(const std::string& home, const std::string& path,
                                 const Progress& progress, CancelToken cancel) {
  DW_ASSIGN(const FileIdentity before, identify_file(path));
  const std::string prefix = memory_prefix(before);
  const Result<std::string> memory = read_file(memory_path(home, path), 16 << 10);
  if (memory && memory->starts_with(prefix) && memory->size() >= prefix.size() + 64) {
    return memory->substr(prefix.size(), 64);
  }
  DW_ASSIGN(const std::string sha256, hash_file(path, progress, cancel));
  const Result<FileIdentity> after = identify_file(path);
  if (after && *after == before) (void)remember_hash(home, path, sha256);
  return sha256;
}

Status remember_hash(const std::string& home, const std::string& path, const std::string& sha256) {
  DW_ASSIGN(const FileIdentity identity, identify_file(path));
  const std::string memory = memory_path(home, path);
  DW_TRY(make_directories(directory_of(memory)));
  return write_file_atomic(memory,
                           concat(memory_prefix(identity), sha256, " ", real_path(path), "\n"));
}

}  // namespace deepwell::service
