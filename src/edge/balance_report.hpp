// BalanceReport: how answers fared between workers, for /metrics and /healthz?deep=1.
#pragma once

#include <cstdint>

namespace deepwell::edge {

/// Since start.
struct BalanceReport {
  std::uint64_t n_lost = 0;       // workers
  std::uint64_t n_suspected = 0;  // times that a worker was silent for too long
  std::uint64_t n_slow = 0;       // times that one was found slow beside its peers
  std::uint64_t n_resumed = 0;    // generations that went on elsewhere
  std::uint64_t n_hedged = 0;     // that were computed twice for a while
  std::uint64_t n_refused = 0;    // that a worker refused because it was full or leaving
  std::uint64_t n_retried = 0;    // of those: tried elsewhere
  std::uint64_t n_failed = 0;     // that could not go on
};

}  // namespace deepwell::edge
