// Sealed blocks on disk: what comes back, what is refused, what is thrown away, and several processes.
#include "service/store/sqlite_blocks.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/file.hpp"
#include "base/ids.hpp"
#include "service/store/block_cipher.hpp"

namespace deepwell::service {
namespace {

namespace fs = std::filesystem;
using engine::BlockLabel;
using engine::BlockStore;

constexpr std::uint64_t kBlockBytes = 100'000;
constexpr std::uint64_t kMiB = 1 << 20;

BlockLabel label_of(std::uint32_t number, const std::string& tenant = "acme",
                    std::uint32_t index = 0) {
  BlockLabel label{.index = index, .tenant = tenant};
  std::mt19937 random(number);
  for (auto& byte : label.name.bytes) byte = static_cast<std::uint8_t>(random());
  for (auto& byte : label.parent.bytes) byte = static_cast<std::uint8_t>(random());
  for (auto& id : label.ids) id = static_cast<engine::TokenId>(random() % 100'000);
  return label;
}

std::vector<std::byte> bytes_of(std::uint32_t number) {
  std::vector<std::byte> bytes(kBlockBytes);
  std::mt19937 random(number + 1000);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

class Blocks : public ::testing::Test {
 protected:
  Blocks() { fs::create_directory(folder_); }
  ~Blocks() override { fs::remove_all(folder_); }

  std::shared_ptr<BlockStore> open(std::uint64_t max_bytes = 64 * kMiB,
                                   const std::string& fingerprint = "f") {
    auto store = open_sqlite_blocks(
        {.directory = folder_, .max_bytes = max_bytes, .reserve_bytes = 0}, null_log());
    const Status begun = store->begin(fingerprint, kBlockBytes);
    EXPECT_TRUE(begun) << begun.error().message;
    return store;
  }
  static void save(BlockStore& store, std::uint32_t number, const std::string& tenant = "acme",
                   std::uint32_t index = 0) {
    const Status saved = store.save(label_of(number, tenant, index), bytes_of(number));
    EXPECT_TRUE(saved) << saved.error().message;
  }
  void save_some(std::uint32_t n) {
    auto store = open();
    for (std::uint32_t i = 0; i < n; ++i) save(*store, i);
  }
  /// Nothing, or the right bytes; never others.
  static bool loads(BlockStore& store, const BlockLabel& label, std::uint32_t number) {
    std::vector<std::byte> bytes(kBlockBytes);
    const Status loaded = store.load(label, bytes);
    if (!loaded) return false;
    EXPECT_EQ(bytes_of(number), bytes);
    return true;
  }
  static bool loads(BlockStore& store, std::uint32_t number) {
    return loads(store, label_of(number), number);
  }
  std::string path() const { return folder_ / "blocks.db"; }
  void sql(const std::string& text) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(SQLITE_OK, sqlite3_open(path().c_str(), &db));
    EXPECT_EQ(SQLITE_OK, sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr)) << text;
    sqlite3_close(db);
  }
  const fs::path folder_ = fs::temp_directory_path() / random_id("deepwell-blocks-");
};

TEST_F(Blocks, ComeBackAfterARestart) {
  save_some(5);
  auto store = open();
  for (std::uint32_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(store->has(label_of(i).name));
    EXPECT_TRUE(loads(*store, i));
  }
  EXPECT_FALSE(store->has(label_of(9).name));
  EXPECT_FALSE(loads(*store, 9));
  EXPECT_GE(store->used_bytes(), 5 * kBlockBytes);
}

TEST_F(Blocks, AreSavedOnce) {
  auto store = open();
  save(*store, 1);
  const std::uint64_t used = store->used_bytes();
  for (int i = 0; i < 20; ++i) save(*store, 1);
  EXPECT_EQ(used, store->used_bytes());
}

TEST_F(Blocks, ComeBackUnderTheirOwnLabelOnly) {
  const auto change = [](auto edit) {
    BlockLabel label = label_of(1);
    edit(label);
    return label;
  };
  const std::vector<BlockLabel> others = {
      change([](BlockLabel& label) { label.tenant = "other"; }),
      change([](BlockLabel& label) { label.parent.bytes[5] ^= 1; }),
      change([](BlockLabel& label) { label.ids[15] ^= 1; }),
      change([](BlockLabel& label) { label.name.bytes[15] ^= 1; }),
  };
  for (const BlockLabel& other : others) {
    auto store = open();
    save(*store, 1);
    EXPECT_FALSE(loads(*store, other, 1));
  }
  auto store = open(64 * kMiB, "another model");
  save(*open(), 1);
  EXPECT_FALSE(loads(*store, 1));
}

TEST_F(Blocks, HideWhatTheyAre) {
  save_some(3);
  std::string all;
  for (const auto& file : fs::directory_iterator(folder_))
    all += read_file(file.path(), 100 * kMiB).value();
  const BlockLabel label = label_of(1);
  const auto bytes = bytes_of(1);
  const auto text = [](const auto& data, std::size_t n) {
    return std::string(reinterpret_cast<const char*>(data.data()), n);
  };
  EXPECT_EQ(std::string::npos, all.find(text(label.name.bytes, 8)));
  EXPECT_EQ(std::string::npos, all.find(text(label.parent.bytes, 8)));
  EXPECT_EQ(std::string::npos, all.find(text(label.ids, 16)));
  EXPECT_EQ(std::string::npos, all.find(text(bytes, 16)));
  EXPECT_EQ(std::string::npos, all.find("acme"));
  for (const auto& file : fs::directory_iterator(folder_)) {
    struct ::stat status {};
    ASSERT_EQ(0, ::stat(file.path().c_str(), &status));
    EXPECT_EQ(0U, status.st_mode & 077U) << file.path();
  }
}

TEST_F(Blocks, GiveWayToYoungerOnesWithinTheirBudget) {
  auto store = open(3 * kMiB);
  for (std::uint32_t i = 0; i < 100; ++i) {
    save(*store, i);
    EXPECT_LE(store->used_bytes(), 3 * kMiB);
    if (i % 8 == 0) {
      ASSERT_TRUE(store->tend(std::vector{label_of(0).name}));  // in use all the time
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  EXPECT_TRUE(loads(*store, 0));
  EXPECT_TRUE(loads(*store, 99));
  EXPECT_FALSE(store->has(label_of(50).name));
  EXPECT_FALSE(loads(*store, 50));
  EXPECT_LE(fs::file_size(path()), 4 * kMiB);
}

TEST_F(Blocks, LoseTheEndOfASequenceFirst) {
  {
    auto store = open();
    for (std::uint32_t i = 0; i < 10; ++i) save(*store, i, "acme", i);
    std::vector<engine::BlockName> names;
    for (std::uint32_t i = 0; i < 10; ++i) names.push_back(label_of(i).name);
    ASSERT_TRUE(store->tend(names));
  }
  auto store = open(600'000);
  ASSERT_TRUE(store->tend({}));
  EXPECT_LE(store->used_bytes(), 600'000U);
  EXPECT_TRUE(loads(*store, label_of(0, "acme", 0), 0));
  EXPECT_TRUE(loads(*store, label_of(2, "acme", 2), 2));
  EXPECT_FALSE(loads(*store, label_of(9, "acme", 9), 9));
}

TEST_F(Blocks, GiveTheDiskBackWhenTheBudgetShrinks) {
  save_some(100);
  sql("PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_GT(fs::file_size(path()), 9 * kMiB);
  {
    auto store = open(2 * kMiB);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(store->tend({}));
    EXPECT_LE(store->used_bytes(), 2 * kMiB);
  }
  sql("PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_LE(fs::file_size(path()), 3 * kMiB);
}

TEST_F(Blocks, AreRefusedWithAFlippedBitAnywhere) {
  const auto expected_intact = [&] {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    save_some(20);
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    return fs::file_size(path());
  };
  std::mt19937_64 random(3);
  std::uint32_t n_lost = 0;
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t n_bytes = expected_intact();
    // The header, the first tables, and everywhere else.
    const std::uint64_t at = random() % (round < 20 ? 100 : round < 40 ? 131'072 : n_bytes);
    {
      std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(static_cast<std::streamoff>(at));
      const char byte = static_cast<char>(file.get() ^ (1 << (random() % 8)));
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte);
    }
    auto store = open_sqlite_blocks(
        {.directory = folder_, .max_bytes = 64 * kMiB, .reserve_bytes = 0}, null_log());
    if (!store->begin("f", kBlockBytes)) continue;
    for (std::uint32_t i = 0; i < 20; ++i) n_lost += loads(*store, i) ? 0 : 1;
    static_cast<void>(store->tend({}));
    // Whatever it was: it works again.
    for (int i = 0; i < 3; ++i) static_cast<void>(store->save(label_of(77), bytes_of(77)));
    EXPECT_TRUE(loads(*store, 77)) << at;
  }
  EXPECT_GT(n_lost, 20U);
}

TEST_F(Blocks, AreRefusedFromATruncatedFile) {
  for (const double part : {0.0, 0.001, 0.3, 0.9}) {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
    save_some(20);
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    fs::resize_file(path(),
                    static_cast<std::uintmax_t>(part * static_cast<double>(fs::file_size(path()))));
    auto store = open();
    std::uint32_t n_lost = 0;
    for (std::uint32_t i = 0; i < 20; ++i) n_lost += loads(*store, i) ? 0 : 1;
    EXPECT_GT(n_lost, 1U) << part;
    for (int i = 0; i < 3; ++i) static_cast<void>(store->save(label_of(77), bytes_of(77)));
    EXPECT_TRUE(loads(*store, 77)) << part;
  }
}

TEST_F(Blocks, OfAnotherKeyOrVersionAreOfNoUse) {
  save_some(3);
  fs::remove(folder_ / "key");
  {
    auto store = open();
    EXPECT_FALSE(store->has(label_of(1).name));
    EXPECT_FALSE(loads(*store, 1));
    EXPECT_EQ(0U, look_at_blocks(folder_, std::nullopt)->n_blocks);  // nobody could use them
    save(*store, 1);
    EXPECT_TRUE(loads(*store, 1));
  }
  sql("PRAGMA user_version = 9");
  EXPECT_FALSE(open()->has(label_of(1).name));
}

TEST_F(Blocks, SwappedBetweenRowsAreRefused) {
  save_some(4);
  sql("UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE seq = 1) WHERE seq = 2");
  auto store = open();
  EXPECT_TRUE(loads(*store, 0));
  EXPECT_FALSE(loads(*store, 1));
  EXPECT_FALSE(store->has(label_of(1).name));
  EXPECT_TRUE(loads(*store, 2));
  // Of equal tokens, under another name.
  BlockLabel twin = label_of(2);
  twin.name = label_of(3).name;
  EXPECT_FALSE(loads(*store, twin, 3));
  save(*store, 3);
  sql("UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE seq = 3) WHERE seq = "
      "(SELECT max(seq) FROM payloads)");
  EXPECT_FALSE(loads(*store, twin, 2));
}

TEST_F(Blocks, LeaveAForeignFileAsItIs) {
  sql("CREATE TABLE recipes (name TEXT)");
  auto store = open();
  save(*store, 1);
  EXPECT_TRUE(loads(*store, 1));
  EXPECT_TRUE(fs::exists(path() + ".aside"));
  std::ofstream(folder_ / "key") << "short";
  auto refusing =
      open_sqlite_blocks({.directory = folder_, .max_bytes = kMiB, .reserve_bytes = 0}, null_log());
  const Status begun = refusing->begin("f", kBlockBytes);
  ASSERT_FALSE(begun);
  EXPECT_NE(std::string::npos, begun.error().message.find("key file")) << begun.error().message;
  EXPECT_FALSE(refusing->has(label_of(1).name));
}

TEST_F(Blocks, LeaveRoomOnTheDisk) {
  auto store = open_sqlite_blocks(
      {.directory = folder_, .max_bytes = 64 * kMiB, .reserve_bytes = UINT64_MAX}, null_log());
  ASSERT_TRUE(store->begin("f", kBlockBytes));
  const Status saved = store->save(label_of(1), bytes_of(1));
  ASSERT_FALSE(saved);
  EXPECT_EQ(Code::kUnavailable, saved.error().code);
}

TEST_F(Blocks, SurviveADiskThatIsFull) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto store = open();
    for (std::uint32_t i = 0; i < 5; ++i) save(*store, i);
    const rlimit full{900'000, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &full);
    int n_failed = 0;
    for (std::uint32_t i = 5; i < 30; ++i)
      n_failed += store->save(label_of(i), bytes_of(i)) ? 0 : 1;
    EXPECT_GT(n_failed, 10);
    for (std::uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(loads(*store, i));
    const rlimit room{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &room);
    save(*store, 50);
    EXPECT_TRUE(loads(*store, 50));
    ::_exit(HasFailure() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(child, ::waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

TEST_F(Blocks, AreSharedByProcessesThatStartAtOnce) {
  constexpr std::uint32_t kProcesses = 4, kEach = 30;
  std::vector<pid_t> children;
  for (std::uint32_t p = 0; p < kProcesses; ++p) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    auto store = open();
    for (std::uint32_t i = 0; i < kEach; ++i) {
      save(*store, p * 1000 + i);
      save(*store, 9000 + i);  // all of them the same
      EXPECT_TRUE(loads(*store, 9000 + i));
      if (i % 10 == 0) {
        EXPECT_TRUE(store->tend({}));
      }
    }
    ::_exit(HasFailure() ? 1 : 0);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(child, ::waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
  auto store = open();
  for (std::uint32_t p = 0; p < kProcesses; ++p) {
    for (std::uint32_t i = 0; i < kEach; ++i) EXPECT_TRUE(loads(*store, p * 1000 + i));
  }
}

TEST_F(Blocks, OfOtherProcessesBecomeKnown) {
  auto store = open();
  save_some(3);
  EXPECT_FALSE(store->has(label_of(1).name));
  ASSERT_TRUE(store->tend({}));
  EXPECT_TRUE(store->has(label_of(1).name));
  ASSERT_TRUE(clear_blocks(folder_, std::nullopt));
  EXPECT_FALSE(loads(*store, 1));
  EXPECT_FALSE(store->has(label_of(1).name));
  ASSERT_TRUE(store->tend(std::vector{label_of(2).name}));
  EXPECT_FALSE(store->has(label_of(2).name));
}

TEST_F(Blocks, SurviveKillsAtAnyMoment) {
  std::mt19937 random(5);
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto store = open(4 * kMiB);
      for (std::uint32_t i = 0;; ++i) {
        static_cast<void>(store->save(label_of(i), bytes_of(i)));
        if (i % 5 == 0) static_cast<void>(store->tend({}));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 40));
    ::kill(child, SIGKILL);
    int status = -1;
    ASSERT_EQ(child, ::waitpid(child, &status, 0));
    EXPECT_TRUE(WIFSIGNALED(status));
  }
  auto store = open();
  std::uint32_t n_there = 0;
  for (std::uint32_t i = 0; i < 200; ++i) {
    if (!store->has(label_of(i).name)) continue;
    EXPECT_TRUE(loads(*store, i));
    ++n_there;
  }
  EXPECT_GT(n_there, 5U);
}

TEST_F(Blocks, OfOneTenantCanBeDeleted) {
  {
    auto store = open();
    for (std::uint32_t i = 0; i < 4; ++i) save(*store, i, i % 2 == 0 ? "a" : "b");
  }
  EXPECT_EQ(4U, look_at_blocks(folder_, std::nullopt)->n_blocks);
  EXPECT_EQ(2U, look_at_blocks(folder_, "a")->n_blocks);
  EXPECT_GE(look_at_blocks(folder_, "a")->n_bytes, 2 * kBlockBytes);
  EXPECT_EQ(0U, clear_blocks(folder_, "nobody")->n_blocks);
  EXPECT_EQ(2U, clear_blocks(folder_, "a")->n_blocks);
  auto store = open();
  EXPECT_FALSE(loads(*store, label_of(0, "a"), 0));
  EXPECT_TRUE(loads(*store, label_of(1, "b"), 1));
  EXPECT_EQ(2U, clear_blocks(folder_, std::nullopt)->n_blocks);
  EXPECT_EQ(0U, look_at_blocks(folder_ / "absent", std::nullopt)->n_blocks);
}

TEST_F(Blocks, HaveOneKeyThoughSeveralMakeIt) {
  std::vector<pid_t> children;
  for (int p = 0; p < 8; ++p) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    const auto secret = load_or_make_block_secret(folder_ / "key");
    const auto again = load_or_make_block_secret(folder_ / "key");
    ::_exit(secret && again && *secret == *again ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(child, ::waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
  EXPECT_EQ(1, std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
}

}  // namespace
}  // namespace deepwell::service
