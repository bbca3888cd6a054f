// RetryBudget: how many submissions that a worker refused may be tried on another one.
// Internal to cluster.
#pragma once

#include <algorithm>
#include <cstdint>

namespace deepwell::cluster {

/// A token bucket, in tenths of a retry: each submission puts one in, each retry takes ten out. So of
/// all submissions one in ten is tried again at most, and kBurst beyond that, which a quiet service
/// has saved up. Without a bound, workers that are all full would be asked by every request in turn,
/// and overload would multiply itself. What was begun and lost is no retry and costs nothing.
class RetryBudget {
 public:
  void note_submission() { n_tenths_ = std::min(n_tenths_ + 1, kBurst * kPerRetry); }
  /// Takes a retry out of the bucket; false if there is none.
  bool try_spend() {
    if (n_tenths_ < kPerRetry) return false;
    n_tenths_ -= kPerRetry;
    return true;
  }

  static constexpr std::uint32_t kPerRetry = 10;
  static constexpr std::uint32_t kBurst = 10;

 private:
  std::uint32_t n_tenths_ = kBurst * kPerRetry;
};

}  // namespace deepwell::cluster
