// Sampling of the engine's progress counters.
#include "edge/health.hpp"

namespace deepwell::edge {

bool HealthWatch::is_stalled(Clock::time_point now) {
  const engine::GeneratorStatus status = generator_.status();
  const std::lock_guard lock(mutex_);
  const std::uint64_t n_progress = status.n_layers_done + status.n_steps;
  const bool is_idle = status.n_running + status.n_waiting == 0;
  if (is_idle || n_progress != n_progress_) {
    n_progress_ = n_progress;
    last_progress_ = now;
    return false;
  }
  return now - last_progress_ > stall_limit_;
}

}  // namespace deepwell::edge
