// Control groups out of folders that look like /proc and /sys.
#include "base/cgroup.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell {
namespace {

class CgroupTest : public ::testing::Test {
 protected:
  void TearDown() override { (void)remove_tree(root_); }
  void put(const std::string& path, const std::string& content) {
    const std::string whole = join_path(root_, path);
    ASSERT_TRUE(make_directories(directory_of(whole)));
    ASSERT_TRUE(write_file_atomic(whole, content));
  }
  std::string in_root(const std::string& path) const { return concat(root_, path); }

  const std::string root_ = concat(::testing::TempDir(), "/cgroup-", ::getpid());
};

TEST_F(CgroupTest, NamesTheGroupAndThoseAboveItInVersion2) {
  put("proc/self/cgroup", "0::/a.slice/b.service\n");
  EXPECT_EQ(
      (std::vector<std::string>{in_root("/sys/fs/cgroup/a.slice/b.service"),
                                in_root("/sys/fs/cgroup/a.slice"), in_root("/sys/fs/cgroup")}),
      cgroup_folders(kUnifiedHierarchy, "self", root_));
  EXPECT_TRUE(cgroup_folders("memory", "self", root_).empty());
}

TEST_F(CgroupTest, TellsVersionsApartThatAreMountedAtOnce) {
  put("proc/17/cgroup", "9:name=systemd:/x\n4:memory:/m:1/n\n2:cpu,cpuacct:/c\n0::/\n");
  put("sys/fs/cgroup/unified/cgroup.procs", "");
  EXPECT_EQ(in_root("/sys/fs/cgroup/memory/m:1/n"), cgroup_folders("memory", "17", root_).at(0));
  EXPECT_EQ(2U, cgroup_folders("cpu", "17", root_).size());
  EXPECT_EQ((std::vector<std::string>{in_root("/sys/fs/cgroup/unified")}),
            cgroup_folders(kUnifiedHierarchy, "17", root_));
  EXPECT_TRUE(cgroup_folders("cpuset", "17", root_).empty());
}

TEST_F(CgroupTest, HasNoGroupsWhereThereIsNothingToRead) {
  EXPECT_TRUE(cgroup_folders(kUnifiedHierarchy, "self", root_).empty());
  put("proc/self/cgroup", "nonsense\n::\n4:memory\n");
  EXPECT_TRUE(cgroup_folders(kUnifiedHierarchy, "self", root_).empty());
  EXPECT_TRUE(cgroup_folders("memory", "self", root_).empty());
}

TEST_F(CgroupTest, TakesNoLimitForNoNumber) {
  put("g/memory.max", "max\n");
  put("g/memory.limit_in_bytes", "9223372036854771712\n");
  put("g/cpu.cfs_quota_us", "-1\n");
  put("g/memory.current", "123456\n");
  for (const std::string_view file :
       {"memory.max", "memory.limit_in_bytes", "cpu.cfs_quota_us", "absent"})
    EXPECT_FALSE(cgroup_number(join_path(root_, "g"), file)) << file;
  EXPECT_EQ(123456U, cgroup_number(join_path(root_, "g"), "memory.current"));
}

}  // namespace
}  // namespace deepwell
