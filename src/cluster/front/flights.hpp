// Flight: one generation on its way through workers. Plain data and the rules that need no worker.
// Internal to cluster.
#pragma once

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
};

struct Flight {
  engine::GenerateRequest
      request;  // `generated` grows: prompt + generated + seed are all its state
  std::shared_ptr<engine::GenerationSink> sink;  // owners: this flight and its reader
  std::vector<Attempt> attempts;                 // none: it waits; two: hedged
  std::uint64_t order = 0;                       // of arrival
  std::uint32_t n_forced_end = 0;  // ids before this position may have been forced: never verified
  std::uint32_t n_attempts = 0;    // since the last new token
  std::uint32_t n_crashes = 0;     // it was in the step in which a worker crashed
  bool was_resumed = false;

  const Attempt* attempt_on(WorkerId worker) const {
    for (const Attempt& attempt : attempts) {
      if (attempt.worker == worker) return &attempt;
    }
    return nullptr;
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
