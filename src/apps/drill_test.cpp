// Drills against a made-up system: that they see what goes wrong, and that they fail then.
#include "apps/drill.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <nlohmann/json.hpp>
#include <set>

#include "apps/drill_run.hpp"
#include "apps/load_test_server.hpp"
#include "base/file.hpp"
#include "cluster/supervisor/admin.hpp"

namespace deepwell::apps {
namespace {

using testing::kStreamHead;
using testing::last_events;
using testing::LoadTestServer;
using testing::TestConnection;
using testing::TestRequest;
using testing::token_event;

struct SilentLog final : Log {
  void write(LogLevel, std::string_view) override {}
};

enum class Harm : std::uint8_t { kNone, kCut, kChanged, kDoubled, kPaused };

/// A front and a worker that exist on paper only. Once struck it does the harm to every stream that runs, and its
/// worker's place goes to epoch 8.
class PaperSystem {
 public:
  explicit PaperSystem(Harm harm) : harm_(harm) {
    char name[] = "/tmp/drill_test.XXXXXX";
    directory_ = ::mkdtemp(name);
    auto socket = cluster::AdminSocket::open(join_path(directory_, "control.sock"));
    supervisor_ =
        std::thread([this, admin = std::move(socket).value()]() mutable { supervise(admin); });
  }
  ~PaperSystem() {
    is_over_ = true;
    supervisor_.join();
    const Status removed = remove_tree(directory_);
    EXPECT_TRUE(removed.has_value());
  }

  DrillOptions options() const {
    DrillOptions options;
    options.run_directory = directory_;
    options.n_streams = 4;
    options.n_distinct = 4;
    options.seconds = 1;
    options.hold_s = 1;
    options.recovery_limit_s = 1;
    options.use_reattach = false;
    options.pause_limit_ms = 150;
    return options;
  }
  LoadTarget target() const {
    LoadTarget target;
    target.host = "127.0.0.1";
    target.port = server_.port();
    target.path = "/v1";
    return target;
  }
  void strike() { is_struck_ = true; }
  bool is_struck() const { return is_struck_; }
  int n_asked() const { return n_asked_; }
  int n_undone = 0;

 private:
  void supervise(cluster::AdminSocket& socket) {
    while (!is_over_) {
      socket.serve(
          [this](std::string_view) {
            return std::vector<std::string>{
                "supervisor pid=1 state=serving set=1 reload=none",
                concat("worker index=0 epoch=", is_struck_ ? 8 : 2,
                       " pid=2 set=1 state=ready progress=0.00 uptime_s=1.0 restarts=0"),
                "front index=0 epoch=3 pid=3 set=1 state=ready progress=0.00 uptime_s=1.0 "
                "restarts=0"};
          },
          std::chrono::steady_clock::now());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void answer(const TestRequest& request, const TestConnection& connection) {
    if (!request.is_post()) {
      const std::string body =
          concat(R"({"status":"ok","workers":[{"index":0,"epoch":)", is_struck_ ? 8 : 2,
                 R"(,"state":"ready","running":4}],"journal":{"degraded":false}})");
      connection.send(concat("HTTP/1.1 200 OK\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
      return;
    }
    ++n_asked_;
    const bool was_struck = is_struck_;
    const auto seed = nlohmann::json::parse(request.body)["seed"].dump();
    connection.send(kStreamHead);
    constexpr int kTokens = 40;
    bool is_harmed = false;
    for (int i = 1; i <= kTokens; ++i) {
      connection.wait(8);
      std::string text = seed;
      if (is_struck_ && !was_struck && !is_harmed) {
        is_harmed = true;
        if (harm_ == Harm::kCut) return;
        if (harm_ == Harm::kChanged) text = "x";
        if (harm_ == Harm::kDoubled)
          connection.send_chunk(token_event(std::to_string(i - 1), seed));
        if (harm_ == Harm::kPaused) connection.wait(400);
      }
      connection.send_chunk(token_event(std::to_string(i), text));
    }
    connection.send_chunk(last_events(std::to_string(kTokens)));
    connection.send("0\r\n\r\n");
  }

  const Harm harm_;
  std::string directory_;
  std::atomic<bool> is_over_{false};
  std::atomic<bool> is_struck_{false};
  std::atomic<int> n_asked_{0};
  LoadTestServer server_{[this](const TestRequest& request, const TestConnection& connection) {
    answer(request, connection);
  }};
  std::thread supervisor_;
};

// A drill is made of plain functions; this is whom they act on.
PaperSystem* struck_system = nullptr;

Result<Strike> strike_on_paper(const Scene& scene, const SystemView&) {
  Strike strike;
  strike.what = "a deed";
  strike.victim = scene.before.ready("worker").at(0);
  strike.n_hit = scene.before.find_worker(0, 2)->n_running;
  strike.at = std::chrono::steady_clock::now();
  strike.undo = [] {
    ++struck_system->n_undone;
    return Status();
  };
  struck_system->strike();
  return strike;
}

Drill paper_drill() {
  return {
      .name = "paper",
      .summary = {"for tests", "用于测试"},
      .check = [](const Scene&) { return Status(); },
      .strike = strike_on_paper,
      .is_noticed = [](const Strike& strike,
                       const SystemView& now) { return !now.find("worker", strike.victim.epoch); },
      .is_recovered = [](const Strike&,
                         const SystemView& now) { return now.find_worker(0, 8) != nullptr; },
      .limits = [](const Scene&) { return DrillLimits{.detection_ms = 1000}; }};
}

Result<DrillReport> drill_with(
    PaperSystem& system, const Drill& drill,
    const std::function<bool()>& is_interrupted = [] { return false; }) {
  struck_system = &system;
  SilentLog log;
  return run_drill(drill, system.options(), system.target(), is_interrupted, log);
}

std::set<std::string> broken(const DrillReport& report) {
  std::set<std::string> words;
  for (const DrillCheck& check : report.checks) {
    if (!check.is_kept) words.insert(check.word);
  }
  return words;
}

using Words = std::set<std::string>;

TEST(DrillRun, PassesASystemThatLosesNothing) {
  PaperSystem system(Harm::kNone);
  const auto report = drill_with(system, paper_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->is_passed()) << report->to_text(Language::kEnglish);
  EXPECT_TRUE(report->outcome().has_value());
  EXPECT_GT(report->n_struck, 0U);
  ASSERT_EQ(report->strikes.size(), 1U);
  EXPECT_TRUE(report->strikes[0].noticed.has_value());
  EXPECT_TRUE(report->strikes[0].recovered.has_value());
  EXPECT_EQ(system.n_undone, 1);
  EXPECT_TRUE(report->to_json()["passed"].get<bool>());
}

TEST(DrillRun, FailsASystemThatCutsStreams) {
  PaperSystem system(Harm::kCut);
  const auto report = drill_with(system, paper_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_FALSE(report->is_passed());
  EXPECT_EQ(broken(*report), (Words{"failed", "lost_tokens"}));
  EXPECT_GT(report->account.n_ended_as(LoadEnd::kCut), 0U);
  EXPECT_EQ(report->outcome().error().code, Code::kDataLoss);
  EXPECT_NE(report->to_text(Language::kChinese).find("演练未通过"), std::string::npos);
}

TEST(DrillRun, FailsASystemThatGivesOtherTokens) {
  PaperSystem system(Harm::kChanged);
  const auto report = drill_with(system, paper_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(broken(*report).contains("different")) << report->to_text(Language::kEnglish);
}

TEST(DrillRun, FailsASystemThatGivesTokensTwice) {
  PaperSystem system(Harm::kDoubled);
  const auto report = drill_with(system, paper_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), Words{"duplicated_events"});
}

TEST(DrillRun, FailsASystemThatPausesTooLong) {
  PaperSystem system(Harm::kPaused);
  const auto report = drill_with(system, paper_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), Words{"pause_p99_ms"});
  EXPECT_GE(report->struck_pause_ms.p99, 300);
}

TEST(DrillRun, FailsWhenNobodyNoticesOrRecovers) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.is_noticed = [](const Strike&, const SystemView&) { return false; };
  drill.is_recovered = [](const Strike&, const SystemView&) { return false; };
  const auto report = drill_with(system, drill);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), (Words{"detection_ms", "recovery_ms"}));
  EXPECT_TRUE(report->to_json()["strikes"][0]["recovery_ms"].is_null());
}

TEST(DrillRun, FailsASystemThatRestartsWhomItShouldNot) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.limits = [](const Scene&) { return DrillLimits{.may_restart_workers = false}; };
  const auto report = drill_with(system, drill);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), Words{"workers_restarted"});
}

TEST(DrillRun, FailsASystemThatPromisesToResumeWhatItCannot) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.limits = [](const Scene&) { return DrillLimits{.resumability = Resumability::kMustGo}; };
  const auto report = drill_with(system, drill);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), Words{"unresumable"});
}

TEST(DrillRun, ProvesNothingIfNobodyWasHit) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.strike = [](const Scene& scene, const SystemView& now) {
    Result<Strike> strike = strike_on_paper(scene, now);
    strike->n_hit = 0;
    return strike;
  };
  const auto report = drill_with(system, drill);
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(broken(*report), Words{"hit"});
}

TEST(DrillRun, SaysThatADeedHadNoEffect) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.is_noticed = [](const Strike&, const SystemView&) { return false; };
  drill.is_void_unless_noticed = true;
  const auto report = drill_with(system, drill);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, Code::kFailedPrecondition);
}

TEST(DrillRun, AsksNothingOfASystemOnWhichItCannotBeDone) {
  PaperSystem system(Harm::kNone);
  Drill drill = paper_drill();
  drill.check = [](const Scene&) { return Status(cannot_drill("no")); };
  const auto report = drill_with(system, drill);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().message, "no");
  EXPECT_EQ(system.n_asked(), 0);
}

Drill lasting_drill() {
  Drill drill = paper_drill();
  drill.strike = [](const Scene& scene, const SystemView& now) {
    Result<Strike> strike = strike_on_paper(scene, now);
    strike->is_lasting = true;
    return strike;
  };
  return drill;
}

TEST(DrillRun, UndoesALastingDeedAfterItsHold) {
  PaperSystem system(Harm::kNone);
  const auto report = drill_with(system, lasting_drill());
  ASSERT_TRUE(report.has_value()) << report.error().message;
  const Strike& strike = report->strikes.at(0);
  EXPECT_GE(*strike.undone - strike.at, std::chrono::seconds(1));
  EXPECT_GE(*strike.recovered, *strike.undone);
  EXPECT_EQ(system.n_undone, 1);
}

TEST(DrillRun, UndoesTheDeedWhenItIsInterrupted) {
  PaperSystem system(Harm::kNone);
  const auto report = drill_with(system, lasting_drill(), [&system] { return system.is_struck(); });
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, Code::kCancelled);
  EXPECT_EQ(system.n_undone, 1);
}

TEST(DrillView, ReadsTheSupervisorsLines) {
  const auto worker = parse_process(
      "worker index=3 epoch=17 pid=28960 set=1 state=ready progress=0.50 uptime_s=15.0 restarts=2");
  ASSERT_TRUE(worker.has_value());
  EXPECT_EQ(worker->kind, "worker");
  EXPECT_EQ(worker->index, 3U);
  EXPECT_EQ(worker->epoch, 17U);
  EXPECT_EQ(worker->pid, 28960);
  EXPECT_EQ(worker->state, "ready");
  EXPECT_EQ(worker->n_restarts, 2U);
  const auto waiting =
      parse_process("front index=0 set=1 state=waiting starts_in_s=0.2 restarts=5");
  ASSERT_TRUE(waiting.has_value());
  EXPECT_EQ(waiting->epoch, 0U);
  EXPECT_FALSE(parse_process("error: no").has_value());
  EXPECT_FALSE(parse_process("").has_value());
}

TEST(DrillView, ReadsTheFrontsHealthAndStandsAnything) {
  const HealthView health = parse_health(
      200,
      R"({"status":"ok","workers":[{"index":1,"epoch":2,"state":"busy","running":3}],"journal":{"degraded":true}})");
  EXPECT_EQ(health.status, "ok");
  EXPECT_TRUE(health.is_journal_degraded);
  ASSERT_EQ(health.workers.size(), 1U);
  EXPECT_EQ(health.workers[0].state, "busy");
  EXPECT_EQ(health.workers[0].n_running, 3U);
  for (const char* odd : {"", "[]", R"({"workers":3,"journal":[]})", R"({"workers":[1,{}]})"}) {
    EXPECT_EQ(parse_health(503, odd).http_status, 503) << odd;
  }
}

TEST(DrillContract, EveryDrillHasItsNameBothLanguagesAndItsParts) {
  std::set<std::string_view> names;
  for (const Drill* drill : drills()) {
    EXPECT_TRUE(names.insert(drill->name).second) << drill->name;
    EXPECT_NE(drill->summary.en, drill->summary.zh) << drill->name;
    EXPECT_TRUE(drill->check && drill->strike && drill->is_recovered && drill->limits)
        << drill->name;
    EXPECT_TRUE(drill->is_noticed || !drill->is_void_unless_noticed) << drill->name;
  }
  for (const char* name : {"kill-worker", "stall-worker", "kill-front", "net-cut", "disk-full",
                           "slow-disk", "oom", "fd-exhaust", "clock-step"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(DrillContract, WithoutLeaveNobodyTouchesTheMachine) {
  char name[] = "/tmp/drill_test.XXXXXX";
  const std::string directory = ::mkdtemp(name);
  Scene scene;
  scene.options.run_directory = directory;
  scene.options.journal_path = join_path(directory, "journal.db");
  ASSERT_TRUE(write_file_atomic(scene.options.journal_path, "x").has_value());
  for (const Drill* drill : drills()) {
    const bool is_harmful = drill->name == "disk-full" || drill->name == "slow-disk" ||
                            drill->name == "clock-step" || drill->name == "net-cut";
    if (!is_harmful) continue;
    const Status checked = drill->check(scene);
    ASSERT_FALSE(checked.has_value()) << drill->name;
    EXPECT_EQ(checked.error().code, Code::kFailedPrecondition) << drill->name;
    EXPECT_FALSE(checked.error().message.empty()) << drill->name;
  }
  ASSERT_TRUE(remove_tree(directory).has_value());
}

}  // namespace
}  // namespace deepwell::apps
