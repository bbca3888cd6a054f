// Files: atomic writes, limits, locks, and what a full disk looks like.
#include "base/file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

namespace deepwell {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "deepwell-file-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(directory_)); }
  std::string path(std::string_view name) const { return join_path(directory_, name); }

  std::string directory_;
};

TEST_F(FileTest, WritesAtomicallyAndReadsBack) {
  ASSERT_TRUE(write_file_atomic(path("a"), "one"));
  ASSERT_TRUE(write_file_atomic(path("a"), std::string("two\0three", 9)));
  const Result<std::string> content = read_file(path("a"), 100);
  ASSERT_TRUE(content);
  EXPECT_EQ(*content, std::string("two\0three", 9));
  EXPECT_EQ(*list_directory(directory_), std::vector<std::string>{"a"});
}

TEST_F(FileTest, RefusesToReadMoreThanTheLimit) {
  ASSERT_TRUE(write_file_atomic(path("a"), "12345"));
  EXPECT_TRUE(read_file(path("a"), 5));
  const Result<std::string> content = read_file(path("a"), 4);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, Code::kResourceExhausted);
}

TEST_F(FileTest, NamesAMissingFile) {
  const Result<std::string> content = read_file(path("none"), 10);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, Code::kNotFound);
  EXPECT_NE(content.error().message.find(path("none") + ": no such file"), std::string::npos)
      << content.error().message;
  EXPECT_FALSE(is_file(path("none")));
  EXPECT_EQ(MappedFile::open(path("none")).error().code, Code::kNotFound);
}

TEST_F(FileTest, MapsTheWholeFile) {
  ASSERT_TRUE(write_file_atomic(path("a"), "mapped"));
  Result<MappedFile> mapped = MappedFile::open(path("a"));
  ASSERT_TRUE(mapped);
  const MappedFile moved = std::move(*mapped);
  ASSERT_EQ(moved.bytes().size(), 6U);
  moved.release_pages();
  EXPECT_EQ(moved.bytes()[5], std::byte{'d'});
  ASSERT_TRUE(write_file_atomic(path("empty"), ""));
  EXPECT_TRUE(MappedFile::open(path("empty"))->bytes().empty());
  EXPECT_FALSE(MappedFile::open(directory_));
}

TEST_F(FileTest, AppendsWhereItStopped) {
  {
    Result<FileWriter> writer = FileWriter::open(path("a"), FileWriter::Mode::kTruncate);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->write("12"));
  }
  Result<FileWriter> writer = FileWriter::open(path("a"), FileWriter::Mode::kAppend);
  ASSERT_TRUE(writer);
  EXPECT_EQ(writer->n_bytes(), 2U);
  ASSERT_TRUE(writer->write("3"));
  ASSERT_TRUE(writer->sync());
  EXPECT_EQ(writer->n_bytes(), 3U);
  EXPECT_EQ(*read_file(path("a"), 10), "123");
}

TEST_F(FileTest, MakesAndRemovesTreesWithoutFollowingLinks) {
  ASSERT_TRUE(make_directories(path("x/y/z")));
  ASSERT_TRUE(make_directories(path("x/y/z")));
  ASSERT_TRUE(make_directories(path("kept")));
  ASSERT_TRUE(write_file_atomic(path("kept/file"), "k"));
  ASSERT_EQ(::symlink(path("kept").c_str(), path("x/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(path("x")));
  EXPECT_FALSE(is_directory(path("x")));
  EXPECT_TRUE(is_file(path("kept/file")));
}

TEST_F(FileTest, LocksOutASecondHolderUntilFreed) {
  {
    const Result<FileLock> first = FileLock::try_acquire(path("lock"));
    ASSERT_TRUE(first);
    const Result<FileLock> second = FileLock::try_acquire(path("lock"));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kAborted);
  }
  EXPECT_TRUE(FileLock::try_acquire(path("lock")));
}

TEST_F(FileTest, KnowsTheSameFileAgain) {
  ASSERT_TRUE(write_file_atomic(path("a"), "one"));
  const FileIdentity first = *identify_file(path("a"));
  EXPECT_EQ(first, *identify_file(path("a")));
  EXPECT_EQ(first.n_bytes, 3U);
  ASSERT_TRUE(write_file_atomic(path("a"), "two"));
  EXPECT_NE(first, *identify_file(path("a")));
}

TEST_F(FileTest, ReportsAFullDeviceAsExhausted) {
  Result<FileWriter> writer = FileWriter::open("/dev/full", FileWriter::Mode::kAppend);
  if (!writer) GTEST_SKIP() << "no /dev/full here";
  const Status written = writer->write("x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kResourceExhausted);
  EXPECT_NE(written.error().message.find("the disk is full"), std::string::npos);
}

TEST_F(FileTest, LeavesNoPartBehindWhenAnAtomicWriteFails) {
  ASSERT_TRUE(write_file_atomic(path("a"), "old"));
  const pid_t child = ::fork();  // the limit on file sizes stays in the child
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Status written = write_file_atomic(path("a"), std::string(5000, 'n'));
    ::_exit(!written && written.error().code == Code::kResourceExhausted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*read_file(path("a"), 100), "old");
  EXPECT_EQ(list_directory(directory_)->size(), 1U);
}

TEST(Path, JoinsAndSplits) {
  EXPECT_EQ(join_path("/a", "b"), "/a/b");
  EXPECT_EQ(join_path("/a/", "b"), "/a/b");
  EXPECT_EQ(join_path("", "b"), "b");
  EXPECT_EQ(directory_of("/a/b"), "/a");
  EXPECT_EQ(directory_of("/a"), "/");
  EXPECT_EQ(directory_of("/a/b/"), "/a");
  EXPECT_EQ(directory_of("a"), ".");
  EXPECT_EQ(file_name_of("/a/b.gguf"), "b.gguf");
  EXPECT_EQ(file_name_of("b"), "b");
}

TEST(FreeDisk, AsksTheNearestExistingParent) {
  const Result<std::uint64_t> here = free_disk_bytes(testing::TempDir());
  const Result<std::uint64_t> below = free_disk_bytes(testing::TempDir() + "no/such/dir");
  ASSERT_TRUE(here);
  ASSERT_TRUE(below);
  EXPECT_GT(*below, 0U);
}

}  // namespace
}  // namespace deepwell
