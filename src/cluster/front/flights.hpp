// Flight: one generation on its way through workers. Plain data and the rules that need no worker.
// Internal to cluster.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/executor.hpp"
#include "cluster/front/cluster_generator.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

/// Where a flight is computed.
struct Attempt {
  WorkerId worker;
  std::uint64_t epoch = 0;  // of the protocol: later attempts have higher ones
  SteadyTime last_token{};  // of this attempt; none yet: it waits or is in prefill
};

struct Flight {
  engine::GenerateRequest
      request;  // `generated` grows: prompt + generated + seed are all its state
  std::shared_ptr<engine::GenerationSink> sink;  // owners: this flight and its reader
  std::vector<Attempt> attempts;                 // none: it waits; two: hedged
  std::uint64_t order = 0;                       // FairOrder's number
  std::uint32_t n_forced_end = 0;  // ids before this position may have been forced: never verified
  std::uint32_t n_attempts = 0;    // since the last new token
  std::uint32_t n_crashes = 0;     // it was in the step in which a worker crashed
  std::vector<WorkerId> refused_by;  // full when asked, since the last new token
  bool was_resumed = false;

  Attempt* attempt_on(WorkerId worker) {
    const auto found = std::find_if(attempts.begin(), attempts.end(),
                                    [&](const Attempt& a) { return a.worker == worker; });
    return found == attempts.end() ? nullptr : &*found;
  }
  /// Nobody has seen a word of it, and no worker had it and was lost.
  bool is_fresh() const { return request.generated.empty() && !was_resumed; }
  bool was_refused_by(WorkerId worker) const {
    return std::find(refused_by.begin(), refused_by.end(), worker) != refused_by.end();
  }
  void forget_attempt_on(WorkerId worker) {
    std::erase_if(attempts, [&](const Attempt& attempt) { return attempt.worker == worker; });
  }
};

/// Takes from `event` what the flight does not know yet, appends it to the flight, and leaves in
/// `event` just that, ready for the sink. False if nothing is new. Error: kDataLoss for a gap.
Result<bool> take_news(Flight& flight, engine::GenerationEvent& event);

/// How many of the known ids a resume may choose anew.
std::uint32_t n_verifiable(const Flight& flight, std::uint32_t n_wanted);

}  // namespace deepwell::cluster
