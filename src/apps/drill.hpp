// Drill: what may go wrong on a running system, as a deed that can be done and watched. One constant struct and one
// line in drill.cpp make a new one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/drill_view.hpp"
#include "apps/load_client.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/text.hpp"

namespace deepwell::apps {

/// What the person who drills allows and knows.
struct DrillOptions {
  std::string run_directory;
  std::string journal_path;
  std::string interface;  // net-cut: a veth whose link may be taken down
  std::uint64_t may_fill_mb =
      0;  // disk-full, slow-disk: the largest file system that may be filled or frozen
  bool may_step_clock = false;  // clock-step
  std::uint32_t n_streams = 50;
  std::uint32_t n_distinct = 64;
  std::uint32_t max_tok = 200;
  std::uint32_t n_prompt_tok = 32;
  double pace_ms = 0;
  std::int64_t seconds = 10;  // of load from the first strike on
  std::int64_t every_s = 0;   // strike again and again; 0: once
  std::int64_t hold_s = 5;    // how long a deed that can be undone lasts
  std::int64_t recovery_limit_s = 60;
  double pause_limit_ms = 0;  // instead of the drill's own; 0: that
  bool use_reattach = true;
};

/// What a drill acts on.
struct Scene {
  DrillOptions options;
  LoadTarget target;
  SystemView before;  // before the first strike
  double undisturbed_ttft_ms = 0;
};

struct Strike {
  std::string what;         // "SIGKILL to worker 2 (epoch 7, pid 123)"
  ProcessView victim;       // epoch 0: no process in particular
  std::uint32_t n_hit = 0;  // streams that the victim was busy with
  SteadyTime at;
  std::optional<SteadyTime> undone;
  std::optional<SteadyTime> noticed;    // by the system itself: its status or its health shows it
  std::optional<SteadyTime> recovered;  // everybody who shall be there is ready
  /// Ends the deed, or clears up what is left of it; empty if there is nothing to do. Called once: after the hold of
  /// a lasting deed, else when the drill ends.
  std::function<Status()> undo = {};
  bool is_lasting = false;
};

/// Whether answers may say `resumable: false`.
enum class Resumability : std::uint8_t {
  kKept,    // none may
  kMayGo,   // some may
  kMustGo,  // some must: whoever says otherwise promises what it cannot keep
};

/// What the system owes under this deed; the figures of the table in the docs. 0: no limit.
struct DrillLimits {
  double pause_p99_ms = 0;
  double detection_ms = 0;
  double recovery_ms = 0;
  bool may_restart_workers = true;
  bool may_restart_front = false;
  Resumability resumability = Resumability::kKept;
};

struct Drill {
  std::string_view name;
  Text summary;
  /// Refuses with the reason (kFailedPrecondition) what cannot be done here. Changes nothing.
  Status (*check)(const Scene& scene);
  Result<Strike> (*strike)(const Scene& scene, const SystemView& now);
  /// Null: nobody has to notice.
  bool (*is_noticed)(const Strike& strike, const SystemView& now);
  /// Asked after the deed, or after it was undone.
  bool (*is_recovered)(const Strike& strike, const SystemView& now);
  DrillLimits (*limits)(const Scene& scene);
  /// A deed that nobody noticed had no effect: the drill was not done.
  bool is_void_unless_noticed = false;
};

/// Every drill of this build, in the order of the list.
std::span<const Drill* const> drills();

inline Error cannot_drill(std::string why) { return {Code::kFailedPrecondition, std::move(why)}; }

}  // namespace deepwell::apps
