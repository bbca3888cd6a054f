// Affinity, slices and sleeps of Linux (sched_setaffinity(2), sched_setattr(2), prctl(2)).
#include "engine/device/cpu/processor_share.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace deepwell::engine {

namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr microseconds kBurst{500};
// More than a burst and the chunk that ends it, so that no burst is cut.
constexpr microseconds kSlice{3000};
constexpr microseconds kLongestRest{2000};  // a burst may have been interrupted

/// struct sched_attr of sched_setattr(2), which the C library does not declare: its first version.
struct SchedAttr {
  std::uint32_t size = sizeof(SchedAttr);
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};

/// How long the calling thread may work before the scheduler prefers another; zero: as it was. Linux 6.12 and later heed
/// it without privileges, as sched_runtime of a normal thread.
void ask_for_slice(microseconds slice) {
  SchedAttr attr;
  if (::syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0U) != 0) return;
  if (attr.policy != SCHED_OTHER && attr.policy != SCHED_BATCH) return;
  attr.runtime_ns = static_cast<std::uint64_t>(nanoseconds(slice).count());
  (void)::syscall(SYS_sched_setattr, 0, &attr, 0U);
}

}  // namespace

cpu_set_t allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
  return set;
}

pid_t own_thread_id() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

void keep_to_processors(pid_t thread, const cpu_set_t& processors) {
  // An id may have gone to another process meanwhile; signal 0 only asks.
  if (thread > 0 && ::syscall(SYS_tgkill, ::getpid(), thread, 0) != 0) return;
  if (thread >= 0) (void)::sched_setaffinity(thread, sizeof processors, &processors);
}

void keep_to_processor(pid_t thread, int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(processor), &one);
  keep_to_processors(thread, one);
}

void PartTime::start() {
  ask_for_slice(kSlice);
  // Sleeps end within a microsecond of what they are meant to, not fifty.
  (void)::prctl(PR_SET_TIMERSLACK, 1UL);
  begin();
}

void PartTime::stop() { ask_for_slice(microseconds(0)); }

void PartTime::begin() { began_at_ = Clock::now(); }

bool PartTime::is_over() const { return Clock::now() - began_at_ >= kBurst; }

void PartTime::rest() {
  const nanoseconds length = std::min<nanoseconds>(Clock::now() - began_at_, kLongestRest);
  const timespec duration{0, static_cast<long>(length.count())};
  (void)::nanosleep(&duration, nullptr);
  begin();
}

}  // namespace deepwell::engine
