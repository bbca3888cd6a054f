// Sharing a processor with somebody else's work, half and half.
#pragma once

#include <sched.h>

#include <chrono>
#include <cstdint>

namespace deepwell::engine {

/// Processors that the calling thread may use. Empty where the system does not say (more than 1,024 of them).
cpu_set_t allowed_processors();
/// The calling thread, as the system calls it.
pid_t own_thread_id();
inline std::uint32_t n_processors(const cpu_set_t& set) {
  return static_cast<std::uint32_t>(CPU_COUNT(&set));
}

/// A thread of this process may run on these processors alone; where the system refuses, nothing happens.
void keep_to_processors(pid_t thread, const cpu_set_t& processors);
void keep_to_processor(pid_t thread, int processor);

/// Works half of the time: bursts, and sleeps as long. A thread that leaves by its own choice before its
/// share is used up is not taken away in the middle of a chunk for which others wait; it is owed time when it wakes, and
/// goes on at once. Belongs to one thread. No allocation, no lock; what the system refuses is done without.
class PartTime {
 public:
  /// The calling thread works so from here on.
  void start();
  void stop();
  /// A burst begins: after a wait.
  void begin();
  bool is_over() const;
  /// Sleeps as long as the burst was, and begins the next.
  void rest();

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point began_at_{};
};

}  // namespace deepwell::engine
