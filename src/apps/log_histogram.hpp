// LogHistogram: percentiles of any number of durations in constant memory, to one percent.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace deepwell::apps {

/// Buckets that grow by 1 %, from 1 µs to 2 h; what is longer counts as that.
class LogHistogram {
 public:
  void add(double us) {
    const double at = us <= 1 ? 0 : std::log(us) / kStep;
    ++counts_[std::min(static_cast<std::size_t>(at), counts_.size() - 1)];
    ++n_;
    max_us_ = std::max(max_us_, us);
  }

  std::uint64_t n() const { return n_; }
  double max_us() const { return max_us_; }
  /// By nearest rank: the middle of the bucket that holds it. 0 without values.
  double percentile_us(double share) const {
    if (n_ == 0) return 0;
    const double wanted = std::max(1.0, std::ceil(share * static_cast<double>(n_)));
    double n_seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      n_seen += static_cast<double>(counts_[i]);
      if (n_seen >= wanted) {
        return std::min(max_us_, std::exp((static_cast<double>(i) + 0.5) * kStep));
      }
    }
    return max_us_;
  }

 private:
  static constexpr double kStep = 0.00995033085316808;  // ln 1.01

  std::array<std::uint64_t, 2300> counts_{};
  std::uint64_t n_ = 0;
  double max_us_ = 0;
};

}  // namespace deepwell::apps
