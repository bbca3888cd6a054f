// The course of a drill.
#include "apps/drill_run.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kLookEvery{5};
constexpr milliseconds kHealthLimit{50};
constexpr milliseconds kFirstHealthLimit{
    5'000};  // nothing is measured yet; a busy machine may take its time
constexpr std::chrono::seconds kFillLimit{30};  // until all streams run
constexpr milliseconds kSettle{500};

/// The load in a thread of its own; stopped and joined at the end, whatever happens.
class BackgroundLoad {
 public:
  /// What is kept of a stream: when it ran and its pause.
  struct Ran {
    SteadyTime from;
    SteadyTime to;
    double excess_ms = 0;  // longest gap beyond pace and undisturbed p99
  };

  BackgroundLoad(CheckedLoad& load, double pace_ms) {
    const double known_ms = pace_ms + load.undisturbed_excess_ms();
    CheckedLoad::Hooks hooks;
    hooks.is_over = [this] { return is_over_.load(); };
    hooks.is_cancelled = [this] { return is_cancelled_.load(); };
    hooks.on_change = [this](std::uint32_t n_running, std::uint32_t) { n_running_ = n_running; };
    hooks.on_result = [this, known_ms](const LoadResult& result, const LoadVerdict&) {
      ran_.push_back(
          {result.due, result.ended, std::max(0.0, to_ms(result.longest_gap) - known_ms)});
    };
    thread_ = std::thread([this, &load, hooks] {
      outcome_ = load.run(hooks);
      has_ended_ = true;
    });
  }
  ~BackgroundLoad() {
    is_cancelled_ = true;
    if (thread_.joinable()) thread_.join();
  }
  BackgroundLoad(const BackgroundLoad&) = delete;
  BackgroundLoad& operator=(const BackgroundLoad&) = delete;

  std::uint32_t n_running() const { return n_running_; }
  bool has_ended() const { return has_ended_; }
  void cancel() { is_cancelled_ = true; }
  /// Starts nothing new, waits for what runs.
  Result<LoadAccount> finish() {
    is_over_ = true;
    thread_.join();
    return std::move(outcome_);
  }
  /// After finish().
  const std::vector<Ran>& ran() const { return ran_; }

 private:
  std::atomic<bool> is_over_{false};
  std::atomic<bool> is_cancelled_{false};
  std::atomic<bool> has_ended_{false};
  std::atomic<std::uint32_t> n_running_{0};
  std::vector<Ran> ran_;
  Result<LoadAccount> outcome_ = internal_error("the load has not ended");
  std::thread thread_;
};

class DrillRun {
 public:
  DrillRun(const Drill& drill, Scene scene, const std::function<bool()>& is_interrupted, Log& log)
      : drill_(drill), scene_(std::move(scene)), is_interrupted_(is_interrupted), log_(log) {}

  // However a drill ends, its deed does too.
  ~DrillRun() {
    for (Strike& strike : strikes_) undo(strike);
  }
  DrillRun(const DrillRun&) = delete;
  DrillRun& operator=(const DrillRun&) = delete;

  Result<DrillReport> run() {
    DW_ASSIGN(scene_.before, look(kFirstHealthLimit));
    if (scene_.before.ready("front").empty()) return unavailable("the server has no ready front");
    DW_TRY(drill_.check(scene_));
    CheckedLoad load(load_options());
    log_.info("asking the undisturbed server");
    DW_TRY(load.ask_undisturbed());
    scene_.undisturbed_ttft_ms = load.undisturbed_ttft_ms();
    BackgroundLoad background(load, scene_.options.pace_ms);
    DW_TRY(wait_until_full(background));
    DW_TRY(strike_and_watch(background));
    DrillReport report;
    report.name = drill_.name;
    if (is_interrupted_()) background.cancel();
    DW_ASSIGN(report.account, background.finish());
    DW_ASSIGN(const SystemView after, look());
    std::vector<double> pauses_ms;
    for (const BackgroundLoad::Ran& ran : background.ran()) {
      const bool is_struck = std::any_of(
          strikes_.begin(), strikes_.end(),
          [&ran](const Strike& strike) { return ran.from <= strike.at && strike.at <= ran.to; });
      if (is_struck) pauses_ms.push_back(ran.excess_ms);
    }
    report.n_struck = pauses_ms.size();
    report.struck_pause_ms = percentiles(std::move(pauses_ms));
    for (Strike& strike : strikes_) undo(strike);
    if (is_void()) {
      return cannot_drill(concat("nobody noticed the deed, so nothing was proved: ",
                                 strikes_.empty() ? "nothing was done" : strikes_.front().what,
                                 "; try more streams, or hold it longer (--hold)"));
    }
    report.strikes = strikes_;
    judge_drill(drill_, scene_, after, report);
    return report;
  }

 private:
  CheckedLoadOptions load_options() const {
    const DrillOptions& options = scene_.options;
    CheckedLoadOptions load;
    load.target = scene_.target;
    // So that asking the undisturbed system takes one round.
    load.questions.n_distinct = std::min(options.n_distinct, options.n_streams);
    load.questions.max_tok = options.max_tok;
    load.questions.n_prompt_tok = options.n_prompt_tok;
    load.n_streams = options.n_streams;
    load.pace_ms = options.pace_ms;
    load.use_reattach = options.use_reattach;
    return load;
  }

  Result<SystemView> look(milliseconds health_limit = kHealthLimit) const {
    return look_at_system(scene_.options.run_directory, scene_.target, health_limit);
  }

  Status wait_until_full(const BackgroundLoad& background) const {
    const SteadyTime deadline = Clock::now() + kFillLimit;
    const std::uint32_t n_wanted = std::max(1U, scene_.options.n_streams * 9 / 10);
    while (background.n_running() < n_wanted) {
      if (is_interrupted_()) return Error{Code::kCancelled, "interrupted"};
      if (background.has_ended() || Clock::now() > deadline) {
        return cannot_drill(concat("only ", background.n_running(), " of ",
                                   scene_.options.n_streams,
                                   " streams run at once; ask for fewer (--streams) or longer ones "
                                   "(--max-tokens)"));
      }
      std::this_thread::sleep_for(kLookEvery);
    }
    std::this_thread::sleep_for(kSettle);
    return {};
  }

  Status strike_and_watch(const BackgroundLoad& background) {
    const DrillOptions& options = scene_.options;
    const SteadyTime stop_at = Clock::now() + std::chrono::seconds(options.seconds);
    const SteadyTime give_up_at = stop_at + std::chrono::seconds(options.recovery_limit_s);
    SteadyTime next_strike = Clock::now();
    while (!is_interrupted_() && !background.has_ended()) {
      DW_ASSIGN(const SystemView view, look());
      const SteadyTime now = Clock::now();
      for (Strike& strike : strikes_) watch(strike, view, now);
      const bool shall_strike = strikes_.empty() || (options.every_s > 0 && now < stop_at);
      if (shall_strike && now >= next_strike) {
        DW_TRY(strike_now(view, background));
        next_strike = now + std::chrono::seconds(options.every_s);
      }
      if (now >= stop_at && (is_all_recovered() || is_void() || now >= give_up_at)) return {};
      std::this_thread::sleep_for(kLookEvery);
    }
    return {};
  }

  Status strike_now(const SystemView& view, const BackgroundLoad& background) {
    Result<Strike> done = drill_.strike(scene_, view);
    if (!done) {
      if (strikes_.empty()) return std::move(done).error();
      log_.warn("no further strike: ", done.error().message);
      return {};
    }
    if (done->victim.kind != "worker") done->n_hit = background.n_running();
    log_.info(done->what);
    strikes_.push_back(std::move(*done));
    return {};
  }

  void watch(Strike& strike, const SystemView& view, SteadyTime now) {
    if (!strike.noticed && drill_.is_noticed != nullptr && drill_.is_noticed(strike, view)) {
      strike.noticed = now;
    }
    const bool is_held = strike.is_lasting && !strike.undone;
    if (is_held) {
      if (now >= strike.at + std::chrono::seconds(scene_.options.hold_s)) undo(strike);
      return;
    }
    if (!strike.recovered && drill_.is_recovered(strike, view)) strike.recovered = now;
  }

  void undo(Strike& strike) {
    if (!strike.undo || strike.undone) return;
    strike.undone = Clock::now();
    const Status undone = strike.undo();
    if (!undone) log_.error("could not undo '", strike.what, "': ", undone.error().message);
  }

  bool is_all_recovered() const {
    return std::all_of(strikes_.begin(), strikes_.end(),
                       [](const Strike& strike) { return strike.recovered.has_value(); });
  }

  // Nobody noticed what had to be noticed, and no deed lasts that still might be.
  bool is_void() const {
    return drill_.is_void_unless_noticed &&
           std::none_of(strikes_.begin(), strikes_.end(), [](const Strike& strike) {
             return strike.noticed || (strike.is_lasting && !strike.undone);
           });
  }

  const Drill& drill_;
  Scene scene_;
  const std::function<bool()>& is_interrupted_;
  Log& log_;
  std::vector<Strike> strikes_;
};

}  // namespace

Result<DrillReport> run_drill(const Drill& drill, const DrillOptions& options,
                              const LoadTarget& target, const std::function<bool()>& is_interrupted,
                              Log& log) {
  Scene scene;
  scene.options = options;
  scene.target = target;
  DrillRun run(drill, std::move(scene), is_interrupted, log);
  return run.run();
}

}  // namespace deepwell::apps
