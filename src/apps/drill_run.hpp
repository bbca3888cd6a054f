// run_drill: a load, a deed in the middle of it, and what became of every answer.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/drill.hpp"
#include "apps/load_account.hpp"
#include "apps/load_check.hpp"
#include "base/log.hpp"

namespace deepwell::apps {

/// One thing that the system owes, and whether it kept it.
struct DrillCheck {
  Text what;
  std::string word;  // for programs: "failed", "pause_p99_ms"
  double value = 0;
  double limit = 0;
  bool is_kept = false;
};

struct DrillReport {
  std::string name;
  std::vector<Strike> strikes;
  LoadAccount account{0, 0};
  Percentiles struck_pause_ms;  // of the streams that ran at a strike, or while its deed lasted
  std::uint64_t n_struck = 0;   // how many those were
  std::vector<DrillCheck> checks;

  bool is_passed() const;
  /// Error: kDataLoss, which names what was not kept.
  Status outcome() const;
  nlohmann::ordered_json to_json() const;
  std::string to_text(Language language) const;
};

/// Errors: kFailedPrecondition (this drill cannot be done here; the reason is the message), kUnavailable (no server
/// there), kCancelled. A system that fails the drill is a report, not an error. `is_interrupted` is asked all the
/// time, from this thread.
Result<DrillReport> run_drill(const Drill& drill, const DrillOptions& options,
                              const LoadTarget& target, const std::function<bool()>& is_interrupted,
                              Log& log);

/// Compares what happened with what is owed. Apart, so that it can be tested with made-up reports.
void judge_drill(const Drill& drill, const Scene& scene, const SystemView& after,
                 DrillReport& report);

}  // namespace deepwell::apps
