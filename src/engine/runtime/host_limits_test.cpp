// Memory limits out of a folder that looks like /proc and /sys.
#include "engine/runtime/host_limits.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/concat.hpp"

namespace deepwell::engine {
namespace {

class FakeHost {
 public:
  FakeHost()
      : root_(std::filesystem::temp_directory_path() / concat("deepwell-host-", ::getpid())) {}
  ~FakeHost() { std::filesystem::remove_all(root_); }
  FakeHost& with(const std::string& path, const std::string& content) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << content;
    return *this;
  }
  std::uint32_t n_cpus() const { return n_usable_cpus(root_.string()); }
  std::uint64_t available() const { return available_memory_bytes(root_.string()); }

 private:
  std::filesystem::path root_;
};

constexpr const char* kMemInfo = "MemTotal: 4000 kB\nMemAvailable:    2000 kB\nSwapFree: 7 kB\n";

TEST(HostLimits, TakeWhatTheKernelCallsAvailable) {
  FakeHost host;
  host.with("proc/meminfo", kMemInfo);
  EXPECT_EQ(2000U << 10, host.available());
  host.with("proc/self/cgroup", "0::/\n").with("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(2000U << 10, host.available());
}

TEST(HostLimits, HonourTheCgroupAndThoseAboveIt) {
  FakeHost host;
  host.with("proc/meminfo", kMemInfo)
      .with("proc/self/cgroup", "4:memory:/old\n0::/a.slice/b.service\n")
      .with("sys/fs/cgroup/a.slice/b.service/memory.max", "1000000\n")
      .with("sys/fs/cgroup/a.slice/b.service/memory.current", "400000\n")
      .with("sys/fs/cgroup/a.slice/b.service/memory.stat", "anon 1\ninactive_file 150000\n");
  EXPECT_EQ(750'000U, host.available());
  host.with("sys/fs/cgroup/a.slice/memory.max", "500000")
      .with("sys/fs/cgroup/a.slice/memory.current", "480000");
  EXPECT_EQ(20'000U, host.available());
  host.with("sys/fs/cgroup/a.slice/memory.current", "900000");  // above a limit that was lowered
  EXPECT_EQ(0U, host.available());
}

TEST(HostLimits, HonourBothVersionsOfCgroups) {
  FakeHost host;
  host.with("proc/meminfo", kMemInfo)
      .with("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n")
      .with("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "900000\n")
      .with("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "500000\n")
      .with("sys/fs/cgroup/memory/box/memory.stat",
            "cache 1\ntotal_inactive_file 100000\n"
            "total_active_file 50000\n")
      .with("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "150000\n")
      .with("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(550'000U, host.available());  // what files take can be dropped
  EXPECT_EQ(1U, host.n_cpus());
  host.with("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(n_usable_cpus("/nowhere"), host.n_cpus());
  host.with("proc/self/cgroup", "0::/\n").with("sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(1U, host.n_cpus());
}

TEST(HostLimits, GiveAtLeastOneProcessor) { EXPECT_GE(n_usable_cpus(), 1U); }

}  // namespace
}  // namespace deepwell::engine
