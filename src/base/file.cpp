// Files over POSIX calls.
#include "base/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/concat.hpp"

namespace deepwell {

namespace {

/// Owns a file descriptor within a function.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int open_retrying(const std::string& path, int flags, unsigned mode = 0) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/// Writes as much as it can; returns 0 or the errno of the failure, and counts what was written.
int write_all(int fd, std::string_view bytes, std::uint64_t& n_written) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(n));
    n_written += static_cast<std::uint64_t>(n);
  }
  return 0;
}

Status sync_directory(const std::string& path) {
  const Fd fd(open_retrying(path, O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0) return errno_error(errno, "open", path);
  // Some file systems cannot sync a directory and say so; the rename itself has succeeded.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return errno_error(errno, "sync", path);
  return {};
}

}  // namespace

Error errno_error(int error_number, std::string_view doing, std::string_view path) {
  Code code = Code::kUnavailable;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      code = Code::kNotFound;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = Code::kPermissionDenied;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      code = Code::kResourceExhausted;
      break;
    case EEXIST:
      code = Code::kAlreadyExists;
      break;
    default:
      break;
  }
  std::string reason = std::strerror(error_number);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z') {
    reason[0] = static_cast<char>(reason[0] - 'A' + 'a');
  }
  if (error_number == ENOSPC) reason = "the disk is full";
  return {code, concat("cannot ", doing, " ", path, ": ", reason)};
}

Result<FileIdentity> identify_file(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return errno_error(errno, "read", path);
  FileIdentity identity;
  identity.device = info.st_dev;
  identity.inode = info.st_ino;
  identity.n_bytes = static_cast<std::uint64_t>(info.st_size);
  identity.mtime_ns = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  identity.is_directory = S_ISDIR(info.st_mode);
  return identity;
}

bool is_file(const std::string& path) {
  const Result<FileIdentity> found = identify_file(path);
  return found && !found->is_directory;
}

bool is_directory(const std::string& path) {
  const Result<FileIdentity> found = identify_file(path);
  return found && found->is_directory;
}

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  DW_ASSIGN(FileReader reader, FileReader::open(path));
  std::string content;
  std::array<char, 1 << 16> buffer;
  while (true) {
    DW_ASSIGN(const std::size_t n, reader.read(buffer));
    if (n == 0) return content;
    if (content.size() + n > max_bytes) {
      return Error{Code::kResourceExhausted, concat(path, " is longer than ", max_bytes, " bytes")};
    }
    content.append(buffer.data(), n);
  }
}

Status write_file_atomic(const std::string& path, std::string_view content, unsigned mode) {
  std::string temporary = concat(path, ".XXXXXX");
  Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (fd.get() < 0) return errno_error(errno, "create", temporary);
  std::uint64_t n_written = 0;
  int failure = write_all(fd.get(), content, n_written);
  if (failure == 0 && ::fchmod(fd.get(), mode) != 0) failure = errno;
  if (failure == 0 && ::fsync(fd.get()) != 0) failure = errno;
  if (failure == 0 && ::close(fd.release()) != 0) failure = errno;
  if (failure != 0) {
    ::unlink(temporary.c_str());
    return errno_error(failure, "write", path);
  }
  Status renamed = rename_file(temporary, path);
  if (!renamed) ::unlink(temporary.c_str());
  return renamed;
}

Status rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    return errno_error(errno, concat("rename ", from, " to"), to);
  }
  return sync_directory(directory_of(to));
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove", path);
  return {};
}

Status remove_tree(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return errno_error(errno, "remove", path);
  }
  if (!S_ISDIR(info.st_mode)) return remove_file(path);
  DW_ASSIGN(const std::vector<std::string> names, list_directory(path));
  for (const std::string& name : names) DW_TRY(remove_tree(join_path(path, name)));
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, "remove", path);
  return {};
}

Status make_directories(const std::string& path, unsigned mode) {
  if (path.empty() || is_directory(path)) return {};
  const std::string parent = directory_of(path);
  if (parent != path) DW_TRY(make_directories(parent, mode));
  if (::mkdir(path.c_str(), mode) != 0 && !(errno == EEXIST && is_directory(path))) {
    return errno_error(errno, "create directory", path);
  }
  return {};
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return errno_error(errno, "list", path);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::uint64_t> free_disk_bytes(const std::string& path) {
  struct statvfs info {};
  std::string existing = path;
  while (::statvfs(existing.c_str(), &info) != 0) {
    const std::string parent = directory_of(existing);
    if (errno != ENOENT || parent == existing) return errno_error(errno, "measure", path);
    existing = parent;
  }
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

std::string join_path(std::string_view directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  return directory.ends_with('/') ? concat(directory, name) : concat(directory, "/", name);
}

std::string directory_of(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}

std::string file_name_of(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  const Fd fd(open_retrying(path, O_RDONLY));
  if (fd.get() < 0) return errno_error(errno, "open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_error(errno, "read", path);
  if (!S_ISREG(info.st_mode)) return invalid_argument(concat(path, " is not a regular file"));
  const auto n_bytes = static_cast<std::size_t>(info.st_size);
  if (n_bytes == 0) return MappedFile(nullptr, 0);
  void* data = ::mmap(nullptr, n_bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return errno_error(errno, "map", path);
  return MappedFile(static_cast<const std::byte*>(data), n_bytes);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), n_bytes_(std::exchange(other.n_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

void MappedFile::release_pages() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), n_bytes_, MADV_DONTNEED);
}

void MappedFile::expect_random_reads() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), n_bytes_, MADV_RANDOM);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), n_bytes_);
}

Result<FileReader> FileReader::open(const std::string& path) {
  const int fd = open_retrying(path, O_RDONLY);
  if (fd < 0) return errno_error(errno, "open", path);
  return FileReader(fd, path);
}

FileReader::FileReader(FileReader&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

FileReader& FileReader::operator=(FileReader&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

FileReader::~FileReader() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::size_t> FileReader::read(std::span<char> space) {
  while (true) {
    const ssize_t n = ::read(fd_, space.data(), space.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return errno_error(errno, "read", path_);
  }
}

Result<FileWriter> FileWriter::open(const std::string& path, Mode mode) {
  const int how = mode == Mode::kAppend ? O_APPEND : O_TRUNC;
  Fd fd(open_retrying(path, O_WRONLY | O_CREAT | how, 0644));
  if (fd.get() < 0) return errno_error(errno, "open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_error(errno, "read", path);
  return FileWriter(fd.release(), path, static_cast<std::uint64_t>(info.st_size));
}

FileWriter::FileWriter(FileWriter&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), n_bytes_(other.n_bytes_) {}

FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(n_bytes_, other.n_bytes_);
  return *this;
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status FileWriter::write(std::string_view bytes) {
  const int failure = write_all(fd_, bytes, n_bytes_);
  if (failure != 0) return errno_error(failure, "write", path_);
  return {};
}

Status FileWriter::sync() {
  if (::fsync(fd_) != 0) return errno_error(errno, "sync", path_);
  return {};
}

Result<FileLock> FileLock::try_acquire(const std::string& path) {
  Fd fd(open_retrying(path, O_RDWR | O_CREAT, 0644));
  if (fd.get() < 0) return errno_error(errno, "open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error(errno, "lock", path);
    return Error{Code::kAborted, concat(path, " is locked by another process")};
  }
  return FileLock(fd.release());
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace deepwell
