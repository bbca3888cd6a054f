// TokenPace: which workers are slow, told from the age of their generations' last tokens.
// Internal to cluster.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace deepwell::cluster {

/// How old the last tokens of one worker's generations are. A generation that is in prefill has none,
/// and a worker that prefills is not measured: its decoding generations wait for that, not for it.
struct TokenPace {
  double age_ms = 0.0;           // median over its decoding generations, smoothed; 0: not measured
  std::uint32_t n_decoding = 0;  // when it was measured last
  std::uint32_t n_looks = 0;     // that measured it
  std::uint32_t n_idle = 0;      // looks since then
  bool is_slow = false;
};

/// Adds a look: the ages of some of the worker's decoding generations. None: it is not measured now;
/// after kForgetLooks of those, it is as if it never had been, so that a worker that got no work for
/// its slowness gets some, and may show itself again.
void note_ages(TokenPace& pace, std::span<double> ages_ms);

/// Renews `is_slow` of all. A worker becomes slow when its age is more than 4 times the median of its
/// peers' and more than kMinSlowMs, and well again below 2 times. Its peers are the workers that
/// decode half as many generations at least: a step over more sequences may take longer. Nobody is
/// judged, or is a peer, before kMinLooks; without peers nobody is slow.
void judge_paces(std::span<TokenPace*> paces);

inline constexpr std::uint32_t kForgetLooks = 25;
inline constexpr std::uint32_t kMinLooks = 8;
inline constexpr double kMinSlowMs = 100.0;

}  // namespace deepwell::cluster
