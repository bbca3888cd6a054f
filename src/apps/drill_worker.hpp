// What the drills that take a worker away have in common.
#pragma once

#include "apps/drill.hpp"

namespace deepwell::apps {

struct BusyWorker {
  ProcessView process;
  std::uint32_t n_running = 0;
};

/// Any of those that this machine's supervisor started and the front sees at work. Error: kFailedPrecondition, none.
Result<BusyWorker> pick_busy_worker(const SystemView& now);
Status check_workers(const Scene& scene);
Status check_nothing(const Scene& scene);

/// Whether the process is still one of the server's children; pids are given to others again.
Result<bool> is_server_process(int pid);

bool is_worker_noticed(const Strike& strike, const SystemView& now);
bool is_worker_replaced(const Strike& strike, const SystemView& now);

/// With another worker: 100 ms and the prefill of what must be rebuilt, for which the time until the first token
/// stands. A single worker must start again first.
double pause_limit_ms(const Scene& scene);
DrillLimits lost_worker_limits(const Scene& scene);
/// Nobody has to be restarted, and running answers notice nothing.
DrillLimits unharmed_limits(const Scene& scene);

}  // namespace deepwell::apps
