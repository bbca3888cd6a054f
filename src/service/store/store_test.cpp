// The contract of Store over every implementation, and SQLite's own promises with faults injected.
#include "service/store/store.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <thread>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "service/store/sqlite.hpp"

namespace deepwell::service {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Waits for a call's result.
template <class T, class Start>
Result<T> wait_for(Start start) {
  std::promise<Result<T>> promise;
  auto future = promise.get_future();
  start(StoreDone<T>([&promise](Result<T> result) { promise.set_value(std::move(result)); }));
  return future.get();
}

Status admit(Store& store, StreamRecord record) {
  return wait_for<void>([&](auto done) { store.admit(std::move(record), std::move(done)); });
}
Status end(Store& store, StreamEnd end) {
  return wait_for<void>([&](auto done) { store.end(std::move(end), std::move(done)); });
}
Result<StreamRecord> find(Store& store, const std::string& id) {
  return wait_for<StreamRecord>([&](auto done) { store.find(id, std::move(done)); });
}
Result<StreamRecord> find_by_key(Store& store, const std::string& tenant, const std::string& key) {
  return wait_for<StreamRecord>(
      [&](auto done) { store.find_by_key(tenant, key, std::move(done)); });
}
std::vector<StreamRecord> claim(Store& store, Claim claim) {
  auto claimed = wait_for<std::vector<StreamRecord>>(
      [&](auto done) { store.claim(std::move(claim), std::move(done)); });
  EXPECT_TRUE(claimed) << (claimed ? "" : claimed.error().message);
  return claimed ? *claimed : std::vector<StreamRecord>();
}
Status sweep(Store& store) {
  return wait_for<void>([&](auto done) { store.sweep(std::move(done)); });
}

StreamRecord record_of(std::string id) {
  StreamRecord record;
  record.id = std::move(id);
  record.tenant = "acme";
  record.owner = "eve";
  record.model = "m";
  record.fingerprint = "f-1";
  record.created_unix_s = 1000;
  record.prompt = {1, 2, 70'000, -1};
  record.plan = R"({"seed":18446744073709551615})";
  record.owner_front = "front-a";
  record.lease_until_ms = 10'000;
  record.epoch = 1;
  return record;
}

StreamEnd end_of(const StreamRecord& record) {
  return {.id = record.id,
          .front = record.owner_front,
          .epoch = record.epoch,
          .state = StreamState::kFinished,
          .outcome = "done"};
}

// A folder of its own, and a clock that tests move.
struct Place {
  Place() { fs::create_directory(folder); }
  ~Place() { fs::remove_all(folder); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  std::string path() const { return folder / "journal.db"; }
  SqliteStoreOptions options() {
    SqliteStoreOptions options;
    options.path = path();
    options.calm = 200ms;
    options.now_ms = [this] { return now_ms.load(); };
    return options;
  }
  const fs::path folder = fs::temp_directory_path() / random_id("deepwell-store-");
  std::atomic<std::int64_t> now_ms = 5000;
};

using MakeStore = std::unique_ptr<Store> (*)(Place&, std::chrono::milliseconds retention,
                                             std::uint64_t max_bytes);

template <Durability kDurability, bool kIsInMemory>
std::unique_ptr<Store> make_sqlite(Place& place, std::chrono::milliseconds retention,
                                   std::uint64_t max_bytes) {
  auto options = place.options();
  if (kIsInMemory) options.path.clear();
  options.durability = kDurability;
  options.retention = retention;
  options.max_bytes = max_bytes;
  return open_sqlite_store(std::move(options), null_log());
}

struct Implementation {
  const char* name;
  MakeStore make;
};

constexpr Implementation kImplementations[] = {
    {"SqliteProcess", make_sqlite<Durability::kProcess, false>},
    {"SqliteMachine", make_sqlite<Durability::kMachine, false>},
    {"SqliteMemory", make_sqlite<Durability::kProcess, true>},
};

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

class StoreContract : public ::testing::TestWithParam<Implementation> {
 protected:
  void open(std::uint64_t max_bytes = 1 << 20) { store_ = GetParam().make(place_, 1h, max_bytes); }
  Place place_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreContract, GivesBackWhatWasAdmitted) {
  open();
  StreamRecord record = record_of("a");
  record.idempotency_key = "key";
  record.request_hash = "hash";
  ASSERT_TRUE(admit(*store_, record));
  EXPECT_EQ(*find(*store_, "a"), record);
  EXPECT_EQ(*find_by_key(*store_, "acme", "key"), record);
  EXPECT_EQ(find(*store_, "b").error().code, Code::kNotFound);
  EXPECT_EQ(find_by_key(*store_, "other", "key").error().code, Code::kNotFound);
}

TEST_P(StoreContract, TakesAnIdAndATenantsKeyOnlyOnce) {
  open();
  StreamRecord record = record_of("a");
  record.idempotency_key = "key";
  ASSERT_TRUE(admit(*store_, record));
  EXPECT_EQ(admit(*store_, record_of("a")).error().code, Code::kAlreadyExists);
  record.id = "b";
  EXPECT_EQ(admit(*store_, record).error().code, Code::kAlreadyExists);
  EXPECT_EQ(find(*store_, "b").error().code, Code::kNotFound);
  record.tenant = "other";
  EXPECT_TRUE(admit(*store_, record));
  EXPECT_TRUE(admit(*store_, record_of("c")));  // no key is no key twice
  EXPECT_TRUE(admit(*store_, record_of("d")));
  EXPECT_FALSE(store_->health().is_degraded);
}

TEST_P(StoreContract, KeepsTheEndOfWhoRunsIt) {
  open();
  const StreamRecord record = record_of("a");
  ASSERT_TRUE(admit(*store_, record));
  StreamEnd foreign = end_of(record);
  foreign.front = "front-b";
  EXPECT_EQ(end(*store_, foreign).error().code, Code::kAborted);
  StreamEnd old = end_of(record);
  old.epoch = 0;
  EXPECT_EQ(end(*store_, old).error().code, Code::kAborted);
  EXPECT_TRUE(end(*store_, end_of(record)));
  EXPECT_EQ(end(*store_, end_of(record)).error().code, Code::kAborted);  // it has ended
  const StreamRecord ended = *find(*store_, "a");
  EXPECT_EQ(ended.state, StreamState::kFinished);
  EXPECT_EQ(ended.outcome, "done");
  EXPECT_EQ(ended.ended_unix_ms, 5000);
  EXPECT_EQ(ended.prompt, record.prompt);
}

TEST_P(StoreContract, GivesTheStreamsOfTheDeadToOneClaimer) {
  open();
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(admit(*store_, record_of(id)));
  StreamRecord alive = record_of("alive");
  alive.owner_front = "front-x";
  ASSERT_TRUE(admit(*store_, alive));
  ASSERT_TRUE(end(*store_, end_of(record_of("c"))));

  const Claim mine{.front = "front-b", .dead_fronts = {"front-a"}, .lease_until_ms = 60'000};
  const auto claimed = claim(*store_, mine);
  ASSERT_EQ(claimed.size(), 2U);
  EXPECT_EQ(claimed[0].owner_front, "front-b");
  EXPECT_EQ(claimed[0].epoch, 2U);
  EXPECT_EQ(claimed[0].lease_until_ms, 60'000);
  EXPECT_EQ(claimed[0].plan, record_of("a").plan);
  EXPECT_TRUE(claim(*store_, mine).empty());  // it has them
  Claim late = mine;
  late.front = "front-c";
  EXPECT_TRUE(claim(*store_, late).empty());  // their owner is not dead any more
  EXPECT_EQ(end(*store_, end_of(record_of("a"))).error().code, Code::kAborted);  // the dead one's
  EXPECT_TRUE(end(*store_, end_of(claimed[0])));
}

TEST_P(StoreContract, FollowsAClockThatStepsBack) {
  open();
  place_.now_ms = 3'600'000;
  StreamRecord running = record_of("running");
  running.lease_until_ms = 3'630'000;
  ASSERT_TRUE(admit(*store_, running));
  ASSERT_TRUE(admit(*store_, record_of("ended")));
  ASSERT_TRUE(end(*store_, end_of(record_of("ended"))));
  place_.now_ms = 10'000;
  ASSERT_TRUE(sweep(*store_));
  EXPECT_TRUE(find(*store_, "ended")) << "it ended in the future: nothing is forgotten early";
  // Whoever runs it says so by the new clock, and dies.
  ASSERT_TRUE(
      wait_for<void>([&](auto done) { store_->renew("front-a", 40'000, std::move(done)); }));
  const Claim mine{.front = "front-b", .lease_until_ms = 99'000};
  EXPECT_TRUE(claim(*store_, mine).empty());
  place_.now_ms = 41'000;
  EXPECT_EQ(claim(*store_, mine).size(), 1U) << "the old lease holds nobody up for an hour";
}

TEST_P(StoreContract, LetsAnExpiredLeaseBeClaimedAndARenewedOneNot) {
  open();
  ASSERT_TRUE(admit(*store_, record_of("a")));
  const Claim mine{.front = "front-b", .lease_until_ms = 99'000};
  place_.now_ms = 9'000;
  EXPECT_TRUE(claim(*store_, mine).empty());
  place_.now_ms = 11'000;
  ASSERT_TRUE(
      wait_for<void>([&](auto done) { store_->renew("front-a", 20'000, std::move(done)); }));
  EXPECT_TRUE(claim(*store_, mine).empty());
  place_.now_ms = 21'000;
  Claim other = mine;
  other.only_id = "b";
  EXPECT_TRUE(claim(*store_, other).empty());
  Claim own = mine;
  own.front = "front-a";
  EXPECT_TRUE(claim(*store_, own).empty()) << "it runs there already";
  other.only_id = "a";
  EXPECT_EQ(claim(*store_, other).size(), 1U);
}

TEST_P(StoreContract, RunsAnAbandonedStreamAgainOnce) {
  open();
  const StreamRecord record = record_of("a");
  ASSERT_TRUE(admit(*store_, record));
  const auto revive = [&](std::uint64_t epoch) {
    return wait_for<StreamRecord>(
        [&](auto done) { store_->revive("a", epoch, "front-b", 70'000, std::move(done)); });
  };
  EXPECT_EQ(revive(1).error().code, Code::kAborted);  // it runs
  StreamEnd abandoned = end_of(record);
  abandoned.state = StreamState::kAbandoned;
  ASSERT_TRUE(end(*store_, abandoned));
  const auto again = revive(1);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->state, StreamState::kRunning);
  EXPECT_EQ(again->epoch, 2U);
  EXPECT_EQ(revive(1).error().code, Code::kAborted);
}

TEST_P(StoreContract, ForgetsWhatEndedLongAgoAndNothingElse) {
  open();
  ASSERT_TRUE(admit(*store_, record_of("ended")));
  ASSERT_TRUE(admit(*store_, record_of("running")));
  ASSERT_TRUE(end(*store_, end_of(record_of("ended"))));
  place_.now_ms += 3'600'000;
  ASSERT_TRUE(sweep(*store_));
  EXPECT_TRUE(find(*store_, "ended"));
  place_.now_ms += 1;
  ASSERT_TRUE(sweep(*store_));
  EXPECT_EQ(find(*store_, "ended").error().code, Code::kNotFound);
  EXPECT_TRUE(find(*store_, "running"));
}

TEST_P(StoreContract, StaysWithinItsBoundByForgettingTheOldestEnd) {
  open(100'000);
  for (int i = 0; i < 50; ++i) {
    StreamRecord record = record_of(concat("s", i));
    record.prompt.assign(2000, 7);  // 8,000 bytes
    ASSERT_TRUE(admit(*store_, record)) << i;
    ++place_.now_ms;
    if (i > 0) {
      ASSERT_TRUE(end(*store_, end_of(record)));
    }
  }
  EXPECT_TRUE(find(*store_, "s0")) << "it runs";
  EXPECT_TRUE(find(*store_, "s49"));
  EXPECT_EQ(find(*store_, "s1").error().code, Code::kNotFound);
  int n_left = 0;
  for (int i = 0; i < 50; ++i) n_left += find(*store_, concat("s", i)) ? 1 : 0;
  EXPECT_LE(n_left, 100'000 / 8'000);
}

TEST_P(StoreContract, RefusesWhatRunningStreamsLeaveNoRoomFor) {
  open(20'000);
  StreamRecord record = record_of("a");
  record.prompt.assign(3000, 7);
  ASSERT_TRUE(admit(*store_, record));
  StreamRecord next = record;
  next.id = "b";
  EXPECT_EQ(admit(*store_, next).error().code, Code::kResourceExhausted);
  EXPECT_TRUE(store_->health().is_degraded);
  ASSERT_TRUE(end(*store_, end_of(record)));
  EXPECT_TRUE(admit(*store_, next));
  EXPECT_TRUE(eventually([&] { return !store_->health().is_degraded; }));
}

TEST_P(StoreContract, AnswersEveryCallOfManyThreads) {
  open(64 << 20);
  std::vector<std::thread> threads;
  std::atomic<int> n_done = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        store_->admit(record_of(concat(t, "-", i)),
                      [&n_done](const Status& status) { n_done += status ? 1 : 0; });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(find(*store_, "3-199"));  // calls take effect in their order
  store_.reset();                       // answers all
  EXPECT_EQ(n_done, 800);
}

INSTANTIATE_TEST_SUITE_P(All, StoreContract, ::testing::ValuesIn(kImplementations),
                         [](const auto& param) { return std::string(param.param.name); });

// --- SQLite's own ------------------------------------------------------------------------------

class LogLines final : public Log {
 public:
  void write(LogLevel, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    text_ += concat(line, "\n");
  }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

TEST(SqliteStore, KeepsWhatWasCommittedWhenTheProcessIsKilled) {
  Place place;
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = open_sqlite_store(place.options(), null_log());
    const Status committed = admit(*store, record_of("a"));
    if (committed) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int how = 0;
  ::waitpid(child, &how, 0);
  ASSERT_TRUE(WIFSIGNALED(how));
  auto store = open_sqlite_store(place.options(), null_log());
  EXPECT_EQ(find(*store, "a").value_or({}), record_of("a"));
}

TEST(SqliteStore, GivesEachStreamToOneOfTwoServersThatClaimAtOnce) {
  constexpr int kStreams = 200;
  Place place;
  const auto one = open_sqlite_store(place.options(), null_log());
  const auto two = open_sqlite_store(place.options(), null_log());
  for (int i = 0; i < kStreams; ++i) ASSERT_TRUE(admit(*one, record_of(concat("s", i))));
  // Stream by stream, as readers who come back ask for them, and all at once, as a new server does.
  const auto claim_all = [&](Store& store, const std::string& front) {
    std::vector<std::string> ids;
    for (int i = 0; i <= kStreams; ++i) {
      Claim mine{.front = front, .dead_fronts = {"front-a"}, .lease_until_ms = 60'000};
      if (i < kStreams) mine.only_id = concat("s", i);
      for (const StreamRecord& record : claim(store, mine)) {
        EXPECT_EQ(record.owner_front, front);
        EXPECT_EQ(record.epoch, 2U) << record.id;
        ids.push_back(record.id);
      }
    }
    return ids;
  };
  auto other = std::async(std::launch::async, [&] { return claim_all(*two, "front-two"); });
  std::vector<std::string> ids = claim_all(*one, "front-one");
  for (std::string& id : other.get()) ids.push_back(std::move(id));
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(kStreams));
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST(SqliteStore, IsReadByNobodyElse) {
  Place place;
  auto store = open_sqlite_store(place.options(), null_log());
  ASSERT_TRUE(admit(*store, record_of("a")));
  for (const char* part : {"", "-wal", "-shm"}) {
    EXPECT_EQ(fs::status(place.path() + part).permissions() & fs::perms::others_all,
              fs::perms::none)
        << part;
  }
}

TEST(SqliteStore, PutsACorruptFileAsideAndBeginsANewOne) {
  Place place;
  std::ofstream(place.path()) << std::string(10'000, 'x');
  LogLines log;
  auto store = open_sqlite_store(place.options(), log);
  EXPECT_TRUE(admit(*store, record_of("a")));
  EXPECT_FALSE(store->health().is_degraded);
  EXPECT_NE(log.text().find("cannot be used"), std::string::npos) << log.text();
  int n_aside = 0;
  for (const auto& file : fs::directory_iterator(place.folder)) {
    n_aside += file.path().string().find(".aside-") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(n_aside, 1);
}

TEST(SqliteStore, PutsAFileOfANewerVersionAside) {
  Place place;
  open_sqlite_store(place.options(), null_log()).reset();
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(place.path().c_str(), &handle), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(handle, "PRAGMA user_version = 2", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(handle);
  LogLines log;
  auto store = open_sqlite_store(place.options(), log);
  EXPECT_TRUE(admit(*store, record_of("a")));
  EXPECT_NE(log.text().find("newer version (schema 2"), std::string::npos) << log.text();
}

TEST(SqliteStore, PutsAnotherProgramsDatabaseAside) {
  Place place;
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(place.path().c_str(), &handle), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(handle, "CREATE TABLE streams (x)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(handle);
  auto store = open_sqlite_store(place.options(), null_log());
  EXPECT_TRUE(admit(*store, record_of("a")));
}

TEST(SqliteStore, GoesOnDegradedWhereItCannotWriteAndRecovers) {
  Place place;
  auto options = place.options();
  options.path = place.folder / "later" / "journal.db";
  LogLines log;
  auto store = open_sqlite_store(std::move(options), log);
  EXPECT_EQ(admit(*store, record_of("a")).error().code, Code::kUnavailable);
  EXPECT_TRUE(store->health().is_degraded);
  EXPECT_NE(store->health().reason.find("unable to open"), std::string::npos);
  fs::create_directory(place.folder / "later");
  EXPECT_TRUE(eventually([&] { return admit(*store, record_of("a")).has_value(); }));
  EXPECT_TRUE(eventually([&] { return !store->health().is_degraded; }));
  EXPECT_NE(log.text().find("works again"), std::string::npos);
}

// A limit on the size of files, for this process: what a full disk looks like to SQLite.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t n_bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = n_bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST(SqliteStore, SaysThatTheDiskIsFullReadsOnAndRecoversByItself) {
  Place place;
  auto options = place.options();
  std::promise<void> may_go_on;
  std::atomic<bool> is_first = true;
  options.on_commit = [&, gate = may_go_on.get_future().share()](double) {
    if (is_first.exchange(false)) gate.wait();
  };
  auto store = open_sqlite_store(std::move(options), null_log());
  ASSERT_TRUE(admit(*store, record_of("a")));  // the store's thread now waits
  {
    const FileSizeLimit limit(4096);
    // In one transaction, of which nothing remains.
    std::promise<Status> refused;
    std::promise<Result<StreamRecord>> found;
    std::promise<Result<StreamRecord>> missed;
    store->admit(record_of("b"), [&](const Status& status) { refused.set_value(status); });
    store->find("a", [&](Result<StreamRecord> record) { found.set_value(std::move(record)); });
    store->find("b", [&](Result<StreamRecord> record) { missed.set_value(std::move(record)); });
    may_go_on.set_value();
    EXPECT_EQ(refused.get_future().get().error().code, Code::kUnavailable);
    EXPECT_TRUE(found.get_future().get()) << "reading needs no room";
    EXPECT_EQ(missed.get_future().get().error().code, Code::kNotFound);
    EXPECT_TRUE(store->health().is_degraded);
    EXPECT_FALSE(store->health().reason.empty());
    std::this_thread::sleep_for(1500ms);
    EXPECT_TRUE(store->health().is_degraded) << "it was tried again, and is as full as before";
  }
  EXPECT_TRUE(eventually([&] { return !store->health().is_degraded; }));
  EXPECT_TRUE(admit(*store, record_of("b")));
}

TEST(SqliteStore, DoesNotCallADiskWellWhereOnlySmallRecordsFindRoom) {
  Place place;
  auto options = place.options();
  options.calm = 1h;
  LogLines log;
  auto store = open_sqlite_store(std::move(options), log);
  ASSERT_TRUE(admit(*store, record_of("first")));
  {
    const FileSizeLimit limit(512 * 1024);
    for (int i = 0; i < 10; ++i) {
      StreamRecord large = record_of(concat("large", i));
      large.prompt.resize(1024 * 1024);
      EXPECT_EQ(admit(*store, std::move(large)).error().code, Code::kUnavailable);
      EXPECT_TRUE(admit(*store, record_of(concat("small", i))));
      EXPECT_TRUE(find(*store, concat("small", i)));
      EXPECT_TRUE(store->health().is_degraded);
      EXPECT_FALSE(store->health().reason.empty());
    }
  }
  EXPECT_TRUE(admit(*store, record_of("last"))) << "what finds room is kept all the same";
  const std::string text = log.text();
  EXPECT_EQ(text.find("works again"), std::string::npos) << text;
  const auto told = text.find("answers go on");
  EXPECT_NE(told, std::string::npos);
  EXPECT_EQ(text.find("answers go on", told + 1), std::string::npos) << "told once: " << text;
}

TEST(SqliteStore, IsCalledWellByNoReading) {
  Place place;
  auto options = place.options();
  options.calm = 0ms;
  auto store = open_sqlite_store(std::move(options), null_log());
  const FileSizeLimit limit(512 * 1024);
  StreamRecord large = record_of("large");
  large.prompt.resize(1024 * 1024);
  EXPECT_FALSE(admit(*store, std::move(large)));
  EXPECT_FALSE(find(*store, "large"));
  EXPECT_TRUE(store->health().is_degraded);
}

TEST(SqliteStore, ReportsHowLongACommitTook) {
  Place place;
  auto options = place.options();
  std::atomic<int> n_commits = 0;
  options.on_commit = [&n_commits](double seconds) {
    EXPECT_GE(seconds, 0.0);
    ++n_commits;
  };
  auto store = open_sqlite_store(std::move(options), null_log());
  ASSERT_TRUE(admit(*store, record_of("a")));
  EXPECT_TRUE(eventually([&] { return n_commits == 1; }));
}

}  // namespace
}  // namespace deepwell::service
