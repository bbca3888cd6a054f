// The order of slabs, who stays, and the readers. Sources: madvise(2) MADV_POPULATE_READ, posix_fadvise(2).
#include "engine/device/cpu/weight_stream.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <numeric>

// Linux 5.14; older headers lack it, and older kernels refuse it: then pages are read where they are touched.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace deepwell::engine {

namespace {

// Two, because the kernel reads one request of its read-ahead size at a time for each: where that is small, a disk is
// idle between them.
constexpr std::uint32_t kReaders = 2;
constexpr std::uint64_t kLeastWindow = 4;  // slabs
constexpr std::uint64_t kAhead = 8;        // slabs beyond what one operation needs
constexpr auto kAskEvery = std::chrono::milliseconds(100);

constexpr std::uint64_t slabs_in(std::uint64_t n_bytes, std::uint64_t slab_bytes) {
  return (n_bytes + slab_bytes - 1) / slab_bytes;
}

/// Ranks such that the first n of them are spread evenly, for every n: multiples of the golden ratio, modulo 1.
std::vector<std::uint64_t> even_ranks(std::uint64_t n) {
  constexpr double kGolden = 0.6180339887498949;
  const auto key = [](std::uint64_t i) { return std::fmod(static_cast<double>(i) * kGolden, 1.0); };
  std::vector<std::uint64_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](std::uint64_t a, std::uint64_t b) { return key(a) < key(b); });
  std::vector<std::uint64_t> ranks(n);
  for (std::uint64_t i = 0; i < n; ++i) ranks[order[i]] = i;
  return ranks;
}

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

WeightStream::WeightStream(const WeightStreamOptions& options)
    : options_(options),
      n_slabs_(slabs_in(options.bytes->n_bytes(), options.slab_bytes)),
      first_slab_(options.first_used / options.slab_bytes),
      n_first_(n_slabs_ - first_slab_),
      n_per_step_(n_first_ + slabs_in(options.first_used, options.slab_bytes)),
      rank_(even_ranks(n_slabs_)) {
  next_ = n_per_step_;  // as after a step: what the first one needs is read at once
  ask_budget();
  for (std::uint32_t i = 0; i < kReaders; ++i) readers_.emplace_back([this] { reader_main(); });
}

WeightStream::~WeightStream() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  for_readers_.notify_all();
  for (std::thread& reader : readers_) reader.join();
}

// --- the order of use ------------------------------------------------------------------------------------------------

std::uint64_t WeightStream::slab_of(Position position) const {
  const std::uint64_t p = position % n_per_step_;
  return p < n_first_ ? first_slab_ + p : p - n_first_;
}

/// Of the byte before `end`, in this step.
WeightStream::Position WeightStream::position_of(std::uint64_t end) const {
  const std::uint64_t slab = (end - 1) / options_.slab_bytes;
  return step_begin_ + (end > options_.first_used ? slab - first_slab_ : n_first_ + slab);
}

bool WeightStream::is_kept(std::uint64_t slab) const {
  return slab == first_slab_ || rank_[slab] < n_kept_;
}

/// Of the step to come only the first part is certain to be used.
bool WeightStream::can_read() const {
  const bool is_needed = next_ < step_begin_ + n_per_step_ + n_first_;
  return is_needed &&
         (is_kept(slab_of(next_)) || window_.size() + drops_.size() + n_dropping_ < n_window_);
}

bool WeightStream::has_read_all_to(Position position) const {
  return next_ > position &&
         std::none_of(reading_.begin(), reading_.end(), [&](Position p) { return p <= position; });
}

void WeightStream::skip_unused() {
  if (next_ >= step_end_) next_ = std::max(next_, step_begin_ + n_per_step_);
}

// --- the driver ------------------------------------------------------------------------------------------------------

void WeightStream::begin_step(bool has_outputs) {
  tell_speed();
  ask_budget();
  const std::lock_guard lock(mutex_);
  step_begin_ += n_per_step_;
  step_end_ = step_begin_ + (has_outputs ? n_per_step_ : n_first_);
  release_before(step_begin_);
  skip_unused();
  for_readers_.notify_all();
  began_at_ = std::chrono::steady_clock::now();
  waited_s_ = 0.0;
}

/// Once, after a whole step that mostly waited. The first one may have found in memory what others read.
void WeightStream::tell_speed() {
  if (has_told_ || step_begin_ < 2 * n_per_step_ || step_end_ - step_begin_ < n_per_step_) return;
  const double took_s = seconds(std::chrono::steady_clock::now() - began_at_);
  if (2 * waited_s_ < took_s) return;
  has_told_ = true;
  const std::uint64_t n_bytes = (n_slabs_ - n_kept_) * options_.slab_bytes;
  const auto n_mb_per_s = static_cast<std::uint64_t>(static_cast<double>(n_bytes) / took_s / 1e6);
  options_.log->info("the disk sets the speed: ", n_bytes >> 20, " MiB in a step of ",
                     static_cast<std::uint64_t>(1e3 * took_s), " ms, ", n_mb_per_s, " MB/s");
}

bool WeightStream::has_read(std::uint64_t end) {
  const std::lock_guard lock(mutex_);
  return has_read_all_to(position_of(end));
}

void WeightStream::await(std::uint64_t end) {
  std::unique_lock lock(mutex_);
  const Position position = position_of(end);
  const SteadyTime since = std::chrono::steady_clock::now();
  for_driver_.wait(lock, [&] {
    const bool is_stuck = !can_read() && reading_.empty() && drops_.empty() && n_dropping_ == 0;
    return has_read_all_to(position) || is_stuck;
  });
  waited_s_ += seconds(std::chrono::steady_clock::now() - since);
}

void WeightStream::release(std::uint64_t end) {
  const std::lock_guard lock(mutex_);
  release_before(position_of(end) + (end % options_.slab_bytes == 0 ? 1 : 0));
  skip_unused();
  for_readers_.notify_all();
}

/// Also what the readers did not come to: it was read where it was touched.
void WeightStream::release_before(Position bound) {
  const auto let_go = [&](Position position) {
    if (!is_kept(slab_of(position))) drops_.push_back(slab_of(position));
  };
  for (; !window_.empty() && window_.front() < bound; window_.pop_front()) let_go(window_.front());
  for (; next_ < bound; ++next_) {
    if (next_ >= step_begin_) let_go(next_);
  }
}

void WeightStream::ask_budget() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - asked_at_ < kAskEvery) return;
  asked_at_ = now;
  const std::uint64_t n_bytes = options_.budget_bytes();
  const std::lock_guard lock(mutex_);
  keep(n_bytes);
}

void WeightStream::keep(std::uint64_t n_budget_bytes) {
  const std::uint64_t n_budget = n_budget_bytes / options_.slab_bytes;
  const std::uint64_t n_wanted = slabs_in(options_.n_together_bytes, options_.slab_bytes) + kAhead;
  n_window_ = std::clamp(n_budget / 2, kLeastWindow, n_wanted);
  const std::uint64_t n_kept = std::min(n_budget - std::min(n_budget, n_window_), n_slabs_);
  for (std::uint64_t slab = 0; slab < n_slabs_; ++slab) {
    if (rank_[slab] >= n_kept && is_kept(slab) && slab != first_slab_) drops_.push_back(slab);
  }
  n_kept_ = n_kept;
}

// --- the readers -----------------------------------------------------------------------------------------------------

void WeightStream::reader_main() {
  std::unique_lock lock(mutex_);
  for (;;) {
    for_readers_.wait(lock, [&] { return is_stopping_ || !drops_.empty() || can_read(); });
    if (is_stopping_) return;
    if (!drops_.empty()) {
      const std::uint64_t slab = drops_.front();
      drops_.pop_front();
      ++n_dropping_;
      lock.unlock();
      drop(slab);
      lock.lock();
      --n_dropping_;
    } else {
      const Position position = next_++;
      const std::uint64_t slab = slab_of(position);
      skip_unused();
      if (!is_kept(slab)) window_.push_back(position);
      reading_.push_back(position);
      lock.unlock();
      populate(slab);
      lock.lock();
      std::erase(reading_, position);
    }
    for_driver_.notify_one();
    for_readers_.notify_one();  // there may be room now
  }
}

std::uint64_t WeightStream::n_bytes_of(std::uint64_t slab) const {
  return std::min(options_.slab_bytes, options_.bytes->n_bytes() - slab * options_.slab_bytes);
}

/// Waits until the slab's pages are there. Errors do not matter: then they are read where they are touched.
void WeightStream::populate(std::uint64_t slab) const {
  const std::uint64_t begin = slab * options_.slab_bytes;
  void* const address = const_cast<std::byte*>(options_.bytes->data()) + begin;
  if (::madvise(address, n_bytes_of(slab), MADV_POPULATE_READ) != 0) {
    ::posix_fadvise(options_.fd, static_cast<off_t>(begin), static_cast<off_t>(n_bytes_of(slab)),
                    POSIX_FADV_WILLNEED);
  }
}

/// Pages that another process has mapped stay.
void WeightStream::drop(std::uint64_t slab) const {
  const std::uint64_t begin = slab * options_.slab_bytes;
  void* const address = const_cast<std::byte*>(options_.bytes->data()) + begin;
  ::madvise(address, n_bytes_of(slab), MADV_DONTNEED);
  ::posix_fadvise(options_.fd, static_cast<off_t>(begin), static_cast<off_t>(n_bytes_of(slab)),
                  POSIX_FADV_DONTNEED);
}

}  // namespace deepwell::engine
