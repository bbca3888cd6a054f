// Ages smoothed, and workers compared.
#include "cluster/front/token_pace.hpp"

#include <algorithm>

namespace deepwell::cluster {

namespace {

// With a look every 200 ms, a window of a second and a half.
constexpr std::uint32_t kWindowLooks = 8;
constexpr double kSlowFactor = 4.0;
constexpr double kWellFactor = 2.0;

double median(std::span<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool is_slow(const TokenPace& pace, std::span<TokenPace*> all) {
  if (pace.n_looks < kMinLooks) return false;
  std::vector<double> peers;
  for (const TokenPace* other : all) {
    const bool is_peer =
        other != &pace && other->n_looks >= kMinLooks && 2 * other->n_decoding >= pace.n_decoding;
    if (is_peer) peers.push_back(other->age_ms);
  }
  if (peers.empty()) return false;
  const double factor = pace.is_slow ? kWellFactor : kSlowFactor;
  return pace.age_ms > kMinSlowMs && pace.age_ms > factor * median(peers);
}

}  // namespace

void note_ages(TokenPace& pace, std::span<double> ages_ms) {
  if (ages_ms.empty()) {
    if (++pace.n_idle >= kForgetLooks) pace = {};
    return;
  }
  const double age_ms = median(ages_ms);
  ++pace.n_looks;
  pace.age_ms += (age_ms - pace.age_ms) / std::min(pace.n_looks, kWindowLooks);
  pace.n_decoding = static_cast<std::uint32_t>(ages_ms.size());
  pace.n_idle = 0;
}

void judge_paces(std::span<TokenPace*> paces) {
  std::vector<bool> verdicts;
  for (const TokenPace* pace : paces) verdicts.push_back(is_slow(*pace, paces));
  for (std::size_t i = 0; i < paces.size(); ++i) paces[i]->is_slow = verdicts[i];
}

}  // namespace deepwell::cluster
