// A straight line through the first sample and the last.
#include "edge/loading_pace.hpp"

namespace deepwell::edge {

namespace {

// What the first percents took says little about the rest.
constexpr double kEnoughProgress = 0.05;

}  // namespace

void LoadingPace::note(double progress, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (!has_begun_ || progress < last_) {
    has_begun_ = true;
    first_ = progress;
    began_at_ = now;
  }
  last_ = progress;
}

std::optional<double> LoadingPace::eta_s(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  if (!has_begun_ || last_ - first_ < kEnoughProgress) return std::nullopt;
  const std::chrono::duration<double> elapsed = now - began_at_;
  return elapsed.count() * (1.0 - last_) / (last_ - first_);
}

}  // namespace deepwell::edge
