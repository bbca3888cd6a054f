// The roster's decisions, with made-up children and a made-up clock.
#include "cluster/supervisor/roster.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <set>

#include "base/concat.hpp"

namespace deepwell::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Notes what the roster wants.
struct FakeHands final : Hands {
  struct Told {
    std::uint64_t epoch;
    ControlMessage message;
  };
  std::vector<ChildSpec> spawned;
  std::vector<std::pair<std::uint64_t, int>> signals;
  std::vector<Told> told;
  std::vector<Incident> incidents;
  std::vector<std::uint32_t> released;
  std::vector<std::string> reports;
  bool is_reload_over = false;
  bool is_listening = true;
  std::optional<Error> spawn_error;
  std::set<std::uint64_t> deaf;

  Result<int> spawn(const ChildSpec& child) override {
    if (spawn_error) return *spawn_error;
    spawned.push_back(child);
    return static_cast<int>(1000 + child.epoch);
  }
  void signal(std::uint64_t epoch, int number) override { signals.emplace_back(epoch, number); }
  Status send(std::uint64_t epoch, const ControlMessage& message) override {
    if (deaf.contains(epoch)) return Error{Code::kResourceExhausted, "does not read"};
    told.push_back({epoch, message});
    return {};
  }
  std::string socket_path(const ChildSpec& worker) override {
    return concat("sock-", worker.epoch);
  }
  void record(const ChildSpec&, Incident incident) override {
    incidents.push_back(std::move(incident));
  }
  void release_set(std::uint32_t set) override { released.push_back(set); }
  void close_listener() override { is_listening = false; }
  void report_reload(std::string_view line, bool is_last) override {
    reports.emplace_back(line);
    is_reload_over = is_last;
  }

  /// What was said to this child since the last call, as lines.
  std::vector<std::string> heard(std::uint64_t epoch) {
    std::vector<std::string> lines;
    std::erase_if(told, [&](const Told& entry) {
      if (entry.epoch != epoch) return false;
      lines.push_back(format_control(entry.message));
      return true;
    });
    return lines;
  }
  bool was_signalled(std::uint64_t epoch, int number) const {
    return std::count(signals.begin(), signals.end(), std::pair(epoch, number)) > 0;
  }
};

using Lines = std::vector<std::string>;

/// Two workers (epochs 1 and 2) and a front (3), unless said otherwise.
struct World {
  FakeHands hands;
  Roster roster;
  SteadyTime now{seconds(1000)};

  explicit World(RosterOptions options = {.n_workers = 2}) : roster(options, hands, null_log()) {
    roster.start(now);
  }
  void say(std::uint64_t epoch, ControlKind kind) { roster.on_message(epoch, {.kind = kind}, now); }
  void make_ready(std::initializer_list<std::uint64_t> epochs) {
    for (const std::uint64_t epoch : epochs) say(epoch, ControlKind::kReady);
  }
  void die(std::uint64_t epoch, int signal, int exit_code = 0,
           std::vector<std::uint64_t> tags = {}) {
    roster.on_death(epoch, {.exit_code = exit_code, .signal = signal}, std::move(tags), now);
  }
  /// Ticks on time; `talking` children send a tick before each.
  void pass(milliseconds duration, std::initializer_list<std::uint64_t> talking = {}) {
    for (milliseconds passed{0}; passed < duration; passed += milliseconds(50)) {
      now += milliseconds(50);
      for (const std::uint64_t epoch : talking) say(epoch, ControlKind::kTick);
      roster.on_tick(now);
    }
  }
  std::uint64_t last_epoch() const { return hands.spawned.back().epoch; }
};

TEST(Roster, StartsWorkersAndFrontAndTellsTheFrontWhatHappens) {
  World world;
  ASSERT_EQ(world.hands.spawned.size(), 3U);
  EXPECT_EQ(name_of(world.hands.spawned[1]), "worker 1 (epoch 2)");
  EXPECT_EQ(world.hands.spawned[2].kind, ChildKind::kFront);
  EXPECT_EQ(world.hands.heard(3),
            (Lines{"worker-loading epoch=1", "worker-loading worker=1 epoch=2"}));
  world.roster.on_message(2, {.kind = ControlKind::kLoading, .progress = 0.5}, world.now);
  world.say(2, ControlKind::kReady);
  EXPECT_EQ(world.hands.heard(3), (Lines{"worker-loading worker=1 epoch=2 progress=0.5",
                                         "worker-ready worker=1 epoch=2 text=sock-2"}));
}

TEST(Roster, RestartsADeadWorkerAtOnceUnderANewEpochAndDeliversSuspects) {
  World world;
  world.make_ready({1, 2, 3});
  (void)world.hands.heard(3);
  world.die(1, SIGSEGV, 0, {5, 9});
  ASSERT_EQ(world.hands.spawned.size(), 4U);
  EXPECT_EQ(name_of(world.hands.spawned[3]), "worker 0 (epoch 4)");
  EXPECT_EQ(world.hands.heard(3),
            (Lines{"worker-died epoch=1 signal=11 tags=5,9", "worker-loading epoch=4"}));
  ASSERT_EQ(world.hands.incidents.size(), 1U);
  EXPECT_EQ(world.hands.incidents[0].child, "worker-0");
  EXPECT_EQ(world.hands.incidents[0].suspects, (std::vector<std::uint64_t>{5, 9}));
  EXPECT_TRUE(world.hands.released.empty());
}

TEST(Roster, NeverUsesAnEpochTwice) {
  World world;
  std::set<std::uint64_t> epochs{1, 2, 3};
  for (int i = 0; i < 50; ++i) {
    world.die(world.last_epoch(), SIGKILL);
    world.pass(seconds(31), {1, 2});
    EXPECT_TRUE(epochs.insert(world.last_epoch()).second);
  }
  EXPECT_EQ(epochs.size(), 53U);
}

TEST(Roster, TellsANewFrontThePresentStateFirst) {
  World world;
  world.make_ready({1, 3});
  world.roster.on_message(2, {.kind = ControlKind::kLoading, .progress = 0.25}, world.now);
  world.die(3, SIGKILL);
  ASSERT_EQ(world.last_epoch(), 4U);
  EXPECT_EQ(world.hands.heard(4), (Lines{"worker-ready epoch=1 text=sock-1",
                                         "worker-loading worker=1 epoch=2 progress=0.25"}));
}

TEST(Roster, BacksOffInACrashLoopOnly) {
  World world;
  for (const std::uint64_t epoch : {1U, 4U, 5U, 6U}) world.die(epoch, SIGSEGV);
  ASSERT_EQ(world.hands.spawned.size(), 6U);  // three at once, the fourth waits
  world.pass(milliseconds(150), {2, 3});
  EXPECT_EQ(world.hands.spawned.size(), 6U);
  EXPECT_NE(world.roster.status(world.now).back().find("state=waiting"), std::string::npos);
  world.pass(milliseconds(50), {2, 3});
  EXPECT_EQ(world.hands.spawned.size(), 7U);
  EXPECT_EQ(world.hands.signals.size(), 0U);
}

TEST(Roster, RestartsAReadyWorkerAtOnceHoweverOftenSomebodyElseKillsIt) {
  World world;
  for (std::uint64_t epoch : {1U, 4U, 5U, 6U, 7U, 8U}) {
    world.say(epoch, ControlKind::kReady);
    world.pass(seconds(2), {2, 3, epoch});
    world.die(epoch, SIGKILL);
    EXPECT_EQ(world.last_epoch(), std::max<std::uint64_t>(epoch, 3) + 1);
  }
}

TEST(Roster, EndsWithTheErrorOfAChildThatCannotStart) {
  World world;
  world.die(1, 0, 3);
  EXPECT_TRUE(world.hands.was_signalled(2, SIGKILL));
  EXPECT_TRUE(world.hands.was_signalled(3, SIGKILL));
  EXPECT_EQ(world.hands.spawned.size(), 3U);
  world.die(2, SIGKILL);
  EXPECT_FALSE(world.roster.is_over());
  world.die(3, SIGKILL);
  ASSERT_TRUE(world.roster.is_over());
  EXPECT_EQ(world.roster.outcome().error().code, Code::kNotFound);
}

TEST(Roster, GoesOnWhenALaterLifeEndsTheSameWay) {
  World world;
  world.die(1, SIGSEGV);
  world.die(4, 0, 3);  // not its first life
  world.make_ready({2});
  world.die(2, 0, 3);  // was ready
  world.die(3, 0, 5);  // unavailable: may pass
  EXPECT_EQ(world.hands.spawned.size(), 7U);
  EXPECT_TRUE(world.hands.signals.empty());
}

TEST(Roster, EndsWhenTheProgramIsNotThere) {
  FakeHands hands;
  hands.spawn_error = not_found("cannot start /x");
  Roster roster({.n_workers = 2}, hands, null_log());
  roster.start({});
  ASSERT_TRUE(roster.is_over());
  EXPECT_EQ(roster.outcome().error().code, Code::kNotFound);
}

TEST(Roster, ReplacesAFrontThatFallsSilent) {
  World world;
  world.make_ready({1, 2, 3});
  world.pass(seconds(2), {1, 2, 3});
  world.pass(milliseconds(500), {1, 2});
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(50), {1, 2});
  EXPECT_TRUE(world.hands.was_signalled(3, SIGKILL));
  world.die(3, SIGKILL);
  EXPECT_EQ(world.hands.spawned.back().kind, ChildKind::kFront);
  EXPECT_NE(world.hands.incidents[0].reason.find("no sign of life for 0.6 s"), std::string::npos);
}

TEST(Roster, DoesNotCountTheTurnsThatItMissedItself) {
  World world;
  world.make_ready({1, 2, 3});
  world.pass(milliseconds(300), {});
  world.now += seconds(20);  // stopped or starved
  world.roster.on_tick(world.now);
  EXPECT_TRUE(world.hands.signals.empty());
  for (int i = 0; i < 100; ++i) {  // never on time
    world.now += milliseconds(90);
    world.roster.on_tick(world.now);
  }
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(300));
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(50));
  EXPECT_TRUE(world.hands.was_signalled(3, SIGKILL));
}

TEST(Roster, GivesAFrontTimeToStart) {
  World world;
  world.pass(seconds(30));
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(seconds(30) + milliseconds(50));
  EXPECT_TRUE(world.hands.was_signalled(3, SIGKILL));
}

TEST(Roster, JudgesASilentWorkerSoonerWhileNoFrontLives) {
  World world({.n_workers = 1});  // worker 1, front 2
  world.make_ready({1, 2});
  world.pass(seconds(8), {2});
  EXPECT_TRUE(world.hands.signals.empty());
  for (const std::uint64_t epoch : {2U, 3U, 4U, 5U, 6U}) world.die(epoch, SIGSEGV);
  ASSERT_EQ(world.last_epoch(), 6U);  // now the next front waits
  world.pass(milliseconds(50));
  EXPECT_TRUE(world.hands.was_signalled(1, SIGKILL));  // 8 s of silence, and now nobody else judges
}

TEST(Roster, ReplacesAWorkerThatNoFrontReachesInTheEnd) {
  World world({.n_workers = 1});
  world.make_ready({2});
  world.roster.on_message(1, {.kind = ControlKind::kLoading, .progress = 0.5}, world.now);
  world.pass(milliseconds(8'900), {2});  // frozen while it loads
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(200), {2});
  EXPECT_TRUE(world.hands.was_signalled(1, SIGKILL));
}

TEST(Roster, KillsAWorkerForAFrontIfItIsStillTheSame) {
  World world;
  world.make_ready({1, 2, 3});
  const auto ask = [&](std::uint32_t worker, std::uint64_t epoch, std::uint64_t from) {
    world.roster.on_message(
        from,
        {.kind = ControlKind::kKillWorker, .worker = worker, .epoch = epoch, .text = "stalls"},
        world.now);
  };
  ask(0, 7, 3);  // no such epoch
  ask(1, 1, 3);  // another worker
  ask(0, 3, 3);  // not a worker
  ask(0, 1, 2);  // not asked by a front
  EXPECT_TRUE(world.hands.signals.empty());
  ask(0, 1, 3);
  EXPECT_TRUE(world.hands.was_signalled(1, SIGKILL));
  world.die(1, SIGKILL);
  EXPECT_EQ(world.hands.incidents[0].reason, "killed at the request of front 0 (epoch 3): stalls");
  ask(0, 1, 3);
  EXPECT_EQ(world.hands.signals.size(), 1U);
}

TEST(Roster, ReplacesAFrontThatDoesNotReadItsChannel) {
  World world;
  world.make_ready({2, 3});
  world.hands.deaf.insert(3);
  world.make_ready({1});
  world.pass(milliseconds(50), {1, 2, 3});
  EXPECT_TRUE(world.hands.was_signalled(3, SIGKILL));
}

TEST(Roster, KillsAChildThatClosedItsChannelAndStays) {
  World world;
  world.make_ready({1, 2, 3});
  world.roster.on_channel_closed(1, world.now);
  world.pass(milliseconds(4'950), {2, 3});
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(50), {2, 3});
  EXPECT_TRUE(world.hands.was_signalled(1, SIGKILL));
}

TEST(Roster, DrainsFrontsFirstThenWorkers) {
  World world;
  world.make_ready({1, 2, 3});
  (void)world.hands.heard(3);
  world.roster.drain(world.now);
  EXPECT_FALSE(world.hands.is_listening);
  EXPECT_EQ(world.hands.heard(3), Lines{"drain text=300"});
  EXPECT_TRUE(world.hands.signals.empty());
  world.die(1, SIGSEGV);  // the answers that end now need it
  EXPECT_EQ(name_of(world.hands.spawned.back()), "worker 0 (epoch 4)");
  world.die(3, 0, 0);
  EXPECT_TRUE(world.hands.was_signalled(2, SIGTERM));
  EXPECT_TRUE(world.hands.was_signalled(4, SIGTERM));
  world.die(2, 0, 0);
  EXPECT_FALSE(world.roster.is_over());
  world.die(4, SIGTERM);
  EXPECT_TRUE(world.roster.is_over());
  EXPECT_TRUE(world.roster.outcome());
  EXPECT_EQ(world.hands.spawned.size(), 4U);
  EXPECT_EQ(world.hands.incidents.size(), 1U);  // of worker 0 alone: the others left as asked
  EXPECT_EQ(world.hands.released, std::vector<std::uint32_t>{1});
}

TEST(Roster, LimitsTheDrain) {
  World world({.n_workers = 1, .drain_timeout = seconds(2), .drain_margin = seconds(1)});
  world.make_ready({1, 2});
  world.roster.drain(world.now);
  world.pass(milliseconds(2'950), {1, 2});
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(50), {1, 2});
  EXPECT_TRUE(world.hands.was_signalled(2, SIGKILL));
  world.die(2, SIGKILL);
  EXPECT_EQ(world.hands.incidents.size(), 1U);
  EXPECT_TRUE(world.hands.was_signalled(1, SIGTERM));
  world.pass(seconds(5), {1});
  EXPECT_TRUE(world.hands.was_signalled(1, SIGKILL));  // it did not heed SIGTERM
  world.die(1, SIGKILL);
  EXPECT_TRUE(world.roster.is_over());
}

TEST(Roster, KillsEverybodyAtTheSecondSignal) {
  World world;
  world.make_ready({1, 2, 3});
  world.roster.drain(world.now);
  world.roster.drain(world.now);
  for (const std::uint64_t epoch : {1U, 2U, 3U}) {
    EXPECT_TRUE(world.hands.was_signalled(epoch, SIGKILL));
    world.die(epoch, SIGKILL);
  }
  ASSERT_TRUE(world.roster.is_over());
  EXPECT_EQ(world.roster.outcome().error().code, Code::kCancelled);
  EXPECT_TRUE(world.hands.incidents.empty());
}

TEST(Roster, RollsOverToANewSetStepByStep) {
  World world;
  world.make_ready({1, 2, 3});
  (void)world.hands.heard(3);
  ASSERT_TRUE(world.roster.reload(world.now));
  ASSERT_EQ(world.hands.spawned.size(), 5U);  // workers 4 and 5; no front yet
  EXPECT_EQ(world.roster.reload(world.now).error().code, Code::kFailedPrecondition);
  world.make_ready({4});
  EXPECT_EQ(world.hands.spawned.size(), 5U);
  world.make_ready({5});
  ASSERT_EQ(world.last_epoch(), 6U);
  EXPECT_EQ(world.hands.spawned.back().kind, ChildKind::kFront);
  EXPECT_EQ(
      world.hands.heard(6),
      (Lines{"worker-draining epoch=1", "worker-ready epoch=1 text=sock-1",
             "worker-draining worker=1 epoch=2", "worker-ready worker=1 epoch=2 text=sock-2",
             "worker-ready epoch=4 text=sock-4", "worker-ready worker=1 epoch=5 text=sock-5"}));
  EXPECT_TRUE(world.hands.heard(3).empty());  // nothing is certain yet

  world.make_ready({6});  // the switch
  EXPECT_EQ(world.hands.heard(3),
            (Lines{"worker-draining epoch=1", "worker-draining worker=1 epoch=2",
                   "worker-ready epoch=4 text=sock-4", "worker-ready worker=1 epoch=5 text=sock-5",
                   "hand-over text=600"}));
  EXPECT_TRUE(world.hands.signals.empty());
  EXPECT_FALSE(world.hands.is_reload_over);

  world.die(3, 0, 0);
  EXPECT_EQ(world.hands.heard(1), Lines{"drain text=605"});
  world.die(1, 0, 0);
  EXPECT_TRUE(world.hands.released.empty());
  world.die(2, 0, 0);
  EXPECT_TRUE(world.hands.is_reload_over);
  EXPECT_TRUE(world.hands.reports.back().starts_with("ok"));
  EXPECT_EQ(world.hands.released, std::vector<std::uint32_t>{1});
  EXPECT_EQ(world.hands.spawned.size(), 6U);  // the old have no successors
  EXPECT_TRUE(world.hands.incidents.empty());
  world.die(4, SIGKILL);  // the new have
  EXPECT_EQ(world.last_epoch(), 7U);
  EXPECT_EQ(world.hands.spawned.back().set, 2U);
}

TEST(Roster, CallsAReloadOffWhenTheNewDieTooOften) {
  World world;
  world.make_ready({1, 2, 3});
  (void)world.hands.heard(3);
  ASSERT_TRUE(world.roster.reload(world.now));
  world.make_ready({5});
  world.die(4, 0, 2);
  world.die(6, 0, 2);
  EXPECT_FALSE(world.hands.is_reload_over);
  world.die(7, 0, 2);
  EXPECT_TRUE(world.hands.is_reload_over);
  EXPECT_NE(world.hands.reports.back().find("error: reload called off"), std::string::npos);
  EXPECT_NE(world.hands.reports.back().find("worker 0 (epoch 7) died with exit code 2"),
            std::string::npos);
  EXPECT_TRUE(world.hands.was_signalled(5, SIGTERM));
  world.die(5, SIGTERM);
  EXPECT_EQ(world.hands.released, std::vector<std::uint32_t>{2});
  EXPECT_TRUE(world.hands.heard(3).empty());  // the old front never knew
  const std::size_t n_spawned = world.hands.spawned.size();
  world.die(1, SIGKILL);  // the old set serves on
  EXPECT_EQ(world.hands.spawned.size(), n_spawned + 1);
  EXPECT_EQ(world.hands.spawned.back().set, 1U);
  EXPECT_TRUE(world.roster.reload(world.now));  // and another try may be made
}

TEST(Roster, CallsAReloadOffWhenTheNewAreNotReadyInTime) {
  World world({.n_workers = 1, .reload_limit = seconds(3)});
  world.make_ready({1, 2});
  ASSERT_TRUE(world.roster.reload(world.now));
  world.pass(milliseconds(2'950), {1, 2});
  EXPECT_FALSE(world.hands.is_reload_over);
  world.pass(milliseconds(50), {1, 2});
  EXPECT_TRUE(world.hands.is_reload_over);
  EXPECT_TRUE(world.hands.was_signalled(3, SIGTERM));
}

TEST(Roster, EndsOldProcessesThatDoNotLeaveAfterAReload) {
  World world({.n_workers = 1, .drain_margin = seconds(1), .reload_limit = seconds(3)});
  world.make_ready({1, 2});
  ASSERT_TRUE(world.roster.reload(world.now));
  world.make_ready({3, 4});
  world.pass(milliseconds(3'950), {1, 2, 3, 4});
  EXPECT_TRUE(world.hands.signals.empty());
  world.pass(milliseconds(50), {1, 2, 3, 4});
  EXPECT_TRUE(world.hands.was_signalled(2, SIGKILL));
  EXPECT_TRUE(world.hands.was_signalled(1, SIGTERM));
}

TEST(Roster, EndsAnOldWorkerThatWasJustBeingRestartedAtTheSwitch) {
  World world({.n_workers = 1});
  world.make_ready({1, 2});
  ASSERT_TRUE(world.roster.reload(world.now));
  world.make_ready({3});  // now the new front, 4, starts
  world.die(1, SIGSEGV);  // its successor is 5
  ASSERT_EQ(world.last_epoch(), 5U);
  world.make_ready({4});
  EXPECT_TRUE(world.hands.was_signalled(5, SIGTERM));
  EXPECT_EQ(world.hands.signals.size(), 1U);
}

TEST(Roster, DropsAnOpenReloadWhenTheServerStops) {
  World world({.n_workers = 1});
  world.make_ready({1, 2});
  ASSERT_TRUE(world.roster.reload(world.now));
  world.roster.drain(world.now);
  EXPECT_TRUE(world.hands.is_reload_over);
  EXPECT_TRUE(world.hands.was_signalled(3, SIGTERM));
  EXPECT_EQ(world.roster.reload(world.now).error().code, Code::kFailedPrecondition);
  world.die(3, SIGTERM);
  world.die(2, 0, 0);
  world.die(1, 0, 0);
  EXPECT_TRUE(world.roster.is_over());
  EXPECT_TRUE(world.roster.outcome());
}

TEST(Roster, ShowsEveryChildInItsStatus) {
  World world;
  world.make_ready({1});
  world.now += seconds(2);
  const std::vector<std::string> lines = world.roster.status(world.now);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_TRUE(lines[0].starts_with("supervisor pid=")) << lines[0];
  EXPECT_EQ(lines[1],
            "worker index=0 epoch=1 pid=1001 set=1 state=ready progress=1.00 uptime_s=2.0 "
            "restarts=0");
  EXPECT_NE(lines[3].find("front index=0 epoch=3 pid=1003 set=1 state=starting"),
            std::string::npos);
}

}  // namespace
}  // namespace deepwell::cluster
