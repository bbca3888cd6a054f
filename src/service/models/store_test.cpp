// The store: what counts as a model, damage, removal, locks; and the memory of content hashes.
#include "service/models/store.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/concat.hpp"
#include "base/sha256.hpp"
#include "service/models/content_hash.hpp"

namespace deepwell::service {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "deepwell-store-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    home_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(home_)); }

  void add(const std::string& name, const std::string& content) const {
    const ModelStore store(home_);
    ASSERT_TRUE(make_directories(store.directory_of_model(name)));
    ASSERT_TRUE(write_file_atomic(store.file_of_model(name), content));
    StoredModel model;
    model.name = name;
    model.n_bytes = content.size();
    model.sha256 = sha256_hex(content);
    model.verified = Verified::kPublisher;
    model.source = "a test";
    model.pulled_at_s = 1'740'830'400;
    ASSERT_TRUE(store.commit(model));
  }

  std::string home_;
};

TEST_F(StoreTest, ListsWhatWasCommitted) {
  const ModelStore store(home_);
  EXPECT_TRUE(store.list()->empty());
  add("b:1", "content b");
  add("a", "content a");
  const Result<std::vector<StoredModel>> models = store.list();
  ASSERT_TRUE(models);
  ASSERT_EQ(models->size(), 2U);
  EXPECT_EQ(models->at(0).name, "a");
  EXPECT_EQ(models->at(1).sha256, sha256_hex("content b"));
  EXPECT_EQ(models->at(1).verified, Verified::kPublisher);
  EXPECT_EQ(models->at(1).pulled_at_s, 1'740'830'400);
  EXPECT_EQ(*read_file(models->at(1).path, 100), "content b");
}

TEST_F(StoreTest, DoesNotCountAPullThatHasNotFinished) {
  const ModelStore store(home_);
  ASSERT_TRUE(make_directories(store.directory_of_model("half")));
  ASSERT_TRUE(write_file_atomic(store.file_of_model("half"), "x"));
  EXPECT_TRUE(store.list()->empty());
  EXPECT_EQ(store.find("half").error().code, Code::kNotFound);
}

TEST_F(StoreTest, SeesAShortenedFileAndADamagedManifest) {
  add("m", "content");
  const ModelStore store(home_);
  ASSERT_TRUE(write_file_atomic(store.file_of_model("m"), "cont"));
  EXPECT_EQ(store.find("m").error().code, Code::kDataLoss);
  EXPECT_NE(store.find("m").error().message.find("has 4 bytes instead of 7"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(join_path(store.directory_of_model("m"), "manifest.json"), "{"));
  EXPECT_NE(store.find("m").error().message.find("is damaged"), std::string::npos);
}

TEST_F(StoreTest, RefusesNamesThatLeaveTheStore) {
  ASSERT_TRUE(write_file_atomic(join_path(home_, "precious"), "x"));
  const ModelStore store(home_);
  for (const char* name : {"..", "../precious", "a/b", "", ".hidden", "A"}) {
    EXPECT_EQ(store.find(name).error().code, Code::kNotFound) << name;
    EXPECT_EQ(store.remove(name).error().code, Code::kNotFound) << name;
  }
  EXPECT_TRUE(is_file(join_path(home_, "precious")));
}

TEST_F(StoreTest, RemovesAllOfAModelButNotWhileItIsLocked) {
  add("m", "content");
  const ModelStore store(home_);
  {
    const Result<FileLock> held = store.lock("m");
    ASSERT_TRUE(held);
    const Status removed = store.remove("m");
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code, Code::kAborted);
    EXPECT_TRUE(store.find("m"));
  }
  ASSERT_TRUE(store.remove("m"));
  EXPECT_FALSE(is_directory(store.directory_of_model("m")));
  EXPECT_EQ(store.remove("m").error().code, Code::kNotFound);
}

TEST_F(StoreTest, RemembersAHashUntilTheFileChanges) {
  const std::string path = join_path(home_, "file");
  ASSERT_TRUE(write_file_atomic(path, "one"));
  int n_reads = 0;
  const Progress count = [&](std::uint64_t, std::uint64_t) { ++n_reads; };
  EXPECT_EQ(*content_hash(home_, path, count), sha256_hex("one"));
  EXPECT_GT(n_reads, 0);
  n_reads = 0;
  EXPECT_EQ(*content_hash(home_, path, count), sha256_hex("one"));
  EXPECT_EQ(n_reads, 0) << "the second time must come from memory";
  ASSERT_TRUE(write_file_atomic(path, "two"));
  EXPECT_EQ(*content_hash(home_, path, count), sha256_hex("two"));
  // Same length, same inode, another time of change.
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  Result<FileWriter> writer = FileWriter::open(path, FileWriter::Mode::kTruncate);
  ASSERT_TRUE(writer && writer->write("six"));
  EXPECT_EQ(*content_hash(home_, path, count), sha256_hex("six"));
}

}  // namespace
}  // namespace deepwell::service
