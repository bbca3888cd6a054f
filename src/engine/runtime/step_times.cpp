// Recursive least squares in three unknowns.
#include "engine/runtime/step_times.hpp"

#include <algorithm>

namespace deepwell::engine {

namespace {

constexpr double kForgetting = 0.99;  // what a step counts after the next one
constexpr double kLargest =
    1e6;  // of the inverse's diagonal: what nobody measures is not unlearnt for ever

}  // namespace

/// Scaled so that all are about 1 in common steps.
StepTimes::Vector StepTimes::features(const StepWork& work) {
  return {1.0, work.n_rows / 64.0, static_cast<double>(work.n_keys) / 65536.0};
}

double StepTimes::predict(const StepWork& work) const {
  const Vector x = features(work);
  double sum = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += std::max(0.0, weights_[i]) * x[i];
  return sum;
}

void StepTimes::note(const StepWork& work, double seconds) {
  if (n_notes_++ == 0) return;
  const Vector x = features(work);
  Vector gain{};
  double surprise = seconds, scale = kForgetting;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) gain[i] += inverse_[i][j] * x[j];
    scale += x[i] * gain[i];
    surprise -= weights_[i] * x[i];
  }
  for (std::size_t i = 0; i < 3; ++i) weights_[i] += gain[i] / scale * surprise;
  const Vector row = gain;  // inverse_ is symmetric: x' · inverse_ is the same
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j)
      inverse_[i][j] = (inverse_[i][j] - gain[i] * row[j] / scale) / kForgetting;
  }
  for (std::size_t i = 0; i < 3; ++i) {
    if (inverse_[i][i] > kLargest) inverse_ = {{{1e3, 0, 0}, {0, 1e3, 0}, {0, 0, 1e3}}};
  }
}

std::uint32_t StepTimes::n_tok_within(double seconds, const StepWork& work, std::uint32_t pos_begin,
                                      std::uint32_t n_max) const {
  std::uint32_t low = 0, high = n_max;
  while (low < high) {
    const std::uint32_t middle = low + (high - low + 1) / 2;
    if (predict(work.plus(middle, pos_begin)) <= seconds) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace deepwell::engine
