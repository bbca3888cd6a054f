// Delays between the deaths of a child and its successors' starts.
#include "cluster/supervisor/restart_policy.hpp"

#include <algorithm>

namespace deepwell::cluster {

std::chrono::milliseconds RestartPolicy::on_death(std::optional<SteadyTime> ready, SteadyTime died,
                                                  bool was_killed_outside) {
  if (ready && died - *ready >= limits_.serving) {
    n_quick_deaths_ = n_outside_kills_ = 0;
  } else if (ready && was_killed_outside && n_outside_kills_ < limits_.n_outside_kills_at_once) {
    ++n_outside_kills_;
    return std::chrono::milliseconds(0);
  } else {
    ++n_quick_deaths_;
  }
  if (n_quick_deaths_ <= limits_.n_quick_deaths_at_once) return std::chrono::milliseconds(0);
  const std::size_t step = n_quick_deaths_ - limits_.n_quick_deaths_at_once - 1;
  return limits_.delays[std::min(step, limits_.delays.size() - 1)];
}

}  // namespace deepwell::cluster
