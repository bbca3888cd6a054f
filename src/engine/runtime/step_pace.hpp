// StepPace: the time between two tokens that streams are used to.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace deepwell::engine {

/// The median of the last steps that were noted: what a neighbour of this machine took from one of them does not count.
class StepPace {
 public:
  void note(double seconds) { late_[n_notes_++ % late_.size()] = seconds; }

  /// Seconds; 0 before anything is known.
  double seconds() const {
    std::array<double, kLate> late = late_;
    const std::size_t n = std::min(n_notes_, late.size());
    if (n == 0) return 0.0;
    auto* const middle = late.data() + n / 2;
    std::nth_element(late.data(), middle, late.data() + n);
    return *middle;
  }

 private:
  static constexpr std::size_t kLate = 64;

  std::array<double, kLate> late_{};
  std::size_t n_notes_ = 0;
};

}  // namespace deepwell::engine
