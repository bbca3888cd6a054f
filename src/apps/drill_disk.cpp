// Drills on the journal's disk: disk-full, slow-disk.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "apps/drill_worker.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::apps {
namespace {

constexpr std::string_view kFillerName = "deepwell-drill-filler";

// Only a file system that was given for this may be filled or frozen: others live on it.
Status check_file_system(const Scene& scene, std::string_view deed) {
  const std::string& journal = scene.options.journal_path;
  if (!is_file(journal)) {
    return cannot_drill(concat("there is no journal at ", journal, "; name it with --journal"));
  }
  struct statfs found {};
  if (::statfs(journal.c_str(), &found) != 0) return errno_error(errno, "look at", journal);
  const auto n_bytes =
      static_cast<std::uint64_t>(found.f_blocks) * static_cast<std::uint64_t>(found.f_bsize);
  if (n_bytes <= scene.options.may_fill_mb << 20) return {};
  return cannot_drill(concat("the journal ", journal, " lies on a file system of ",
                             format_bytes(n_bytes), ", which is ", deed,
                             " only with --may-fill-mb of at least that; for this drill, start the "
                             "server with its --journal on a small one of its own"));
}

Status check_disk_full(const Scene& scene) { return check_file_system(scene, "filled"); }

// Down to the last byte: large pieces first, then small ones.
Status fill(int fd) {
  for (std::size_t n_bytes : {std::size_t{1} << 20, std::size_t{4096}, std::size_t{1}}) {
    const std::vector<char> piece(n_bytes, 'x');
    while (true) {
      const ssize_t n = ::write(fd, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != ENOSPC) return errno_error(errno, "fill", "the disk");
      if (n <= 0) break;
    }
  }
  return {};
}

Result<Strike> fill_disk(const Scene& scene, const SystemView&) {
  const std::string path = join_path(directory_of(scene.options.journal_path), kFillerName);
  const ScopedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.is_open()) return errno_error(errno, "write", path);
  Strike strike;
  strike.what = concat("fill the file system of ", scene.options.journal_path);
  strike.is_lasting = true;
  strike.undo = [path] { return remove_file(path); };
  const Status filled = fill(fd.get());
  if (!filled) {
    static_cast<void>(strike.undo());
    return filled.error();
  }
  strike.at = std::chrono::steady_clock::now();
  return strike;
}

bool is_journal_degraded(const Strike&, const SystemView& now) {
  return now.health.is_journal_degraded;
}

bool is_journal_well(const Strike&, const SystemView& now) {
  return now.health.http_status == 200 && !now.health.is_journal_degraded;
}

DrillLimits disk_full_limits(const Scene& scene) {
  DrillLimits limits = unharmed_limits(scene);
  limits.resumability = Resumability::kMustGo;
  return limits;
}

// A frozen file system answers no write until it is thawed (ioctl_fs(2), FIFREEZE); frozen again and again it is a
// slow one.
class Freezer {
 public:
  static constexpr std::chrono::milliseconds kFrozen{800};
  static constexpr std::chrono::milliseconds kThawed{200};

  explicit Freezer(ScopedFd fd) : fd_(std::move(fd)) {
    thread_ = std::thread([this] {
      while (!is_over_) {
        const bool is_frozen = ::ioctl(fd_.get(), FIFREEZE, 0) == 0;
        std::this_thread::sleep_for(kFrozen);
        if (is_frozen) ::ioctl(fd_.get(), FITHAW, 0);
        std::this_thread::sleep_for(kThawed);
      }
    });
  }
  ~Freezer() {
    is_over_ = true;
    thread_.join();
  }
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;

 private:
  ScopedFd fd_;
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

Status check_slow_disk(const Scene& scene) {
  if (::geteuid() != 0) return cannot_drill("only root may freeze a file system");
  DW_TRY(check_file_system(scene, "frozen"));
  struct statfs found {};
  ::statfs(scene.options.journal_path.c_str(), &found);
  if (found.f_type == TMPFS_MAGIC) {
    return cannot_drill(
        "the journal lies in memory (tmpfs), which cannot be slowed down; put it on "
        "a small disk of its own, for example a loop device");
  }
  DW_ASSIGN(const FileIdentity journal, identify_file(scene.options.journal_path));
  DW_ASSIGN(const FileIdentity root, identify_file("/"));
  DW_ASSIGN(const FileIdentity run, identify_file(scene.options.run_directory));
  if (journal.device == root.device || journal.device == run.device) {
    return cannot_drill(
        "the journal shares its file system with the system or with the server's "
        "sockets, which must not freeze");
  }
  return {};
}

Result<Strike> slow_disk(const Scene& scene, const SystemView&) {
  const std::string directory = directory_of(scene.options.journal_path);
  ScopedFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return errno_error(errno, "open", directory);
  if (::ioctl(fd.get(), FIFREEZE, 0) != 0) {
    return cannot_drill(errno_error(errno, "freeze the file system of", directory).message);
  }
  ::ioctl(fd.get(), FITHAW, 0);
  Strike strike;
  strike.what = concat("freeze the file system of ", scene.options.journal_path, " for ",
                       Freezer::kFrozen.count(), " ms of every second");
  strike.is_lasting = true;
  strike.at = std::chrono::steady_clock::now();
  auto freezer = std::make_shared<std::unique_ptr<Freezer>>(
      std::make_unique<Freezer>(std::move(fd)));  // std::function copies
  strike.undo = [freezer] {
    freezer->reset();
    return Status();
  };
  return strike;
}

DrillLimits slow_disk_limits(const Scene& scene) {
  DrillLimits limits = unharmed_limits(scene);
  limits.resumability = Resumability::kMayGo;
  return limits;
}

}  // namespace

extern const Drill kDrill_disk_full;
const Drill kDrill_disk_full = {
    .name = "disk-full",
    .summary =
        {"fill the journal's file system: answers go on, and say that they are not resumable",
         "写满日志所在文件系统：回答继续，并标明不可续接"},
    .check = check_disk_full,
    .strike = fill_disk,
    .is_noticed = is_journal_degraded,
    .is_recovered = is_journal_well,
    .limits = disk_full_limits,
    .is_void_unless_noticed = true};  // a journal may have room in its own files for a while

extern const Drill kDrill_slow_disk;
const Drill kDrill_slow_disk = {
    .name = "slow-disk",
    .summary = {"let the journal's disk answer late: nobody may take that for a stall",
                "使日志磁盘响应变慢：不得误判为停滞"},
    .check = check_slow_disk,
    .strike = slow_disk,
    .is_noticed = nullptr,
    .is_recovered = is_journal_well,
    .limits = slow_disk_limits};

}  // namespace deepwell::apps
