// Files: whole reads with a limit, read-only mappings, atomic writes, a growing file, locks and
// disk space (POSIX).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace deepwell {

/// "cannot open /x: no such file or directory" with the fitting code: kNotFound, kPermissionDenied,
/// kResourceExhausted (disk full, quota, file size limit), kAlreadyExists, else kUnavailable.
Error errno_error(int error_number, std::string_view doing, std::string_view path);

/// What tells whether a file is still the one that was looked at.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t n_bytes = 0;
  std::int64_t mtime_ns = 0;
  bool is_directory = false;

  bool operator==(const FileIdentity&) const = default;
};

/// Follows links. Error: kNotFound if there is nothing at `path`.
Result<FileIdentity> identify_file(const std::string& path);
bool is_file(const std::string& path);
bool is_directory(const std::string& path);

/// The whole file. Error: kResourceExhausted if it is longer than `max_bytes`.
Result<std::string> read_file(const std::string& path, std::size_t max_bytes);

/// Writes a temporary file beside `path`, syncs it and renames it over `path`: a reader sees the
/// old content or the new one, never a part, also after a power cut. The temporary file is removed
/// on failure.
Status write_file_atomic(const std::string& path, std::string_view content, unsigned mode = 0644);

/// Renames and syncs the directory. Both paths must be on one file system.
Status rename_file(const std::string& from, const std::string& to);
/// Removes a file; nothing there is fine.
Status remove_file(const std::string& path);
/// Removes a directory with everything in it, without following links; nothing there is fine.
Status remove_tree(const std::string& path);
/// Makes `path` and its missing parents.
Status make_directories(const std::string& path, unsigned mode = 0755);
/// The names in a directory, without "." and "..", sorted.
Result<std::vector<std::string>> list_directory(const std::string& path);
/// Bytes that this process may still write in the file system of `path`, or of its nearest existing
/// parent.
Result<std::uint64_t> free_disk_bytes(const std::string& path);

/// "dir/name" (one slash), "dir" and "name" of a path.
std::string join_path(std::string_view directory, std::string_view name);
std::string directory_of(std::string_view path);
std::string file_name_of(std::string_view path);

/// A read-only mapping of a whole file. Moves, does not copy. An empty file gives an empty span.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, n_bytes_}; }
  /// The pages that were read no longer count as this process's memory; reading brings them back.
  void release_pages() const;
  /// From now on a read brings its own page only, and none around it.
  void expect_random_reads() const;

 private:
  MappedFile(const std::byte* data, std::size_t n_bytes) : data_(data), n_bytes_(n_bytes) {}

  const std::byte* data_ = nullptr;
  std::size_t n_bytes_ = 0;
};

/// Reads a file from its start, piece by piece.
class FileReader {
 public:
  static Result<FileReader> open(const std::string& path);

  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;
  ~FileReader();

  /// Fills the front of `space`; 0 is the end of the file.
  Result<std::size_t> read(std::span<char> space);

 private:
  FileReader(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
};

/// A file that grows at its end. Errors carry the path; a full disk is kResourceExhausted.
class FileWriter {
 public:
  enum class Mode : std::uint8_t { kTruncate, kAppend };
  static Result<FileWriter> open(const std::string& path, Mode mode);

  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&& other) noexcept;
  ~FileWriter();

  /// Writes all of it or fails; after a failure n_bytes() says how much of it is in the file.
  Status write(std::string_view bytes);
  std::uint64_t n_bytes() const { return n_bytes_; }
  /// Waits until the bytes are on the disk.
  Status sync();

 private:
  FileWriter(int fd, std::string path, std::uint64_t n_bytes)
      : fd_(fd), path_(std::move(path)), n_bytes_(n_bytes) {}

  int fd_ = -1;
  std::string path_;
  std::uint64_t n_bytes_ = 0;
};

/// An exclusive advisory lock on a file of its own (flock); freed with the object or the process.
class FileLock {
 public:
  /// Error: kAborted if another process (or another FileLock here) holds it.
  static Result<FileLock> try_acquire(const std::string& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace deepwell
