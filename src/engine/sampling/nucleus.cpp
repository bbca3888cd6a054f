// Finding the end of a prefix: a histogram of the weights says in which narrow range it lies, a quickselect where.
#include "engine/sampling/nucleus.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace deepwell::engine {
namespace {

// Buckets grow with the weight: its highest bit, then the next five. Weights have 41 bits at most.
constexpr unsigned kSubBits = 5;
constexpr std::size_t kBuckets = std::size_t{41} << kSubBits;

std::size_t bucket_of(std::uint64_t weight) {
  const auto top = static_cast<unsigned>(std::bit_width(weight | 1)) - 1;
  const std::uint64_t next = ((weight << kSubBits) >> top) & ((1U << kSubBits) - 1);
  return (std::size_t{top} << kSubBits) | static_cast<std::size_t>(next);
}

/// The smallest weight whose bucket is that one or a later one.
std::uint64_t least_of_bucket(std::size_t bucket) {
  const std::uint64_t leading = (std::uint64_t{1} << kSubBits) | (bucket & ((1U << kSubBits) - 1));
  return ((leading << (bucket >> kSubBits)) + ((1U << kSubBits) - 1)) >> kSubBits;
}

bool comes_before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

Mass plus(Mass a, const Mass& b) { return {a.n + b.n, a.weight + b.weight}; }

/// The candidate that ends the prefix, given the mass of all tokens before these. The goal is reached within them.
Candidate select_last(std::span<Candidate> in, Mass before, const Goal& goal) {
  constexpr std::size_t kFewEnoughToSort = 32;
  while (in.size() > kFewEnoughToSort) {
    // The middle of three candidates, so that sorted input is no bad case.
    Candidate probes[3] = {in.front(), in[in.size() / 2], in.back()};
    std::sort(probes, probes + 3, comes_before);
    const Candidate pivot = probes[1];
    const auto middle = std::partition(
        in.begin(), in.end(), [&pivot](const Candidate& c) { return comes_before(c, pivot); });
    const auto n_first = static_cast<std::size_t>(middle - in.begin());
    Mass first;
    for (const Candidate& candidate : in.first(n_first)) {
      first.add(candidate.weight);
    }
    if (goal.is_reached_by(plus(before, first))) {
      in = in.first(n_first);
    } else {
      before = plus(before, first);
      in = in.subspan(n_first);
    }
  }
  std::sort(in.begin(), in.end(), comes_before);
  for (const Candidate& candidate : in) {
    before.add(candidate.weight);
    if (goal.is_reached_by(before)) {
      return candidate;
    }
  }
  return in.back();
}

}  // namespace

namespace {

/// The mass of the prefix among the ids begin .. end - 1.
Mass mass_between(std::span<const std::uint64_t> weights, const Prefix& prefix, std::size_t begin,
                  std::size_t end) {
  // Up to the prefix's last id its last weight is enough; the ids above must be heavier.
  const std::size_t split = std::clamp(static_cast<std::size_t>(prefix.last_id) + 1, begin, end);
  return plus(mass_at_least(weights.subspan(begin, split - begin), prefix.last_weight),
              mass_at_least(weights.subspan(split, end - split), prefix.last_weight + 1));
}

}  // namespace

Mass mass_of(std::span<const std::uint64_t> weights, const Prefix& prefix) {
  return mass_between(weights, prefix, 0, weights.size());
}

TokenId token_at(std::span<const std::uint64_t> weights, const Prefix& prefix, std::uint64_t at) {
  constexpr std::size_t kStretch =
      1024;  // whole stretches are skipped by their sums, which are quick to take
  std::size_t i = 0;
  while (i + kStretch < weights.size()) {
    const std::uint64_t sum = mass_between(weights, prefix, i, i + kStretch).weight;
    if (at < sum) {
      break;
    }
    at -= sum;
    i += kStretch;
  }
  for (;; ++i) {
    if (prefix.holds(weights[i], static_cast<TokenId>(i))) {
      if (at < weights[i]) {
        return static_cast<TokenId>(i);
      }
      at -= weights[i];
    }
  }
}

Prefix shortest_prefix(std::span<const std::uint64_t> weights, const Prefix& outer,
                       const Goal& goal, std::vector<Candidate>& scratch) {
  // Mostly the goal is reached among few heavy tokens: then the histogram need not see the others.
  Prefix searched = outer;
  for (const std::uint64_t least : {kMaxWeight >> 6, kMaxWeight >> 16}) {
    const Prefix heavy{.last_weight = least};
    if (least > outer.last_weight && goal.is_reached_by(mass_of(weights, heavy))) {
      searched = heavy;
      break;
    }
  }
  std::array<Mass, kBuckets> buckets{};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (searched.holds(weights[i], static_cast<TokenId>(i))) {
      buckets[bucket_of(weights[i])].add(weights[i]);
    }
  }
  Mass before;
  std::size_t bucket = kBuckets;
  while (bucket > 0 && !goal.is_reached_by(plus(before, buckets[bucket - 1]))) {
    before = plus(before, buckets[--bucket]);
  }
  if (bucket == 0) {
    return outer;
  }
  --bucket;  // the goal is reached inside this one
  const std::uint64_t least = least_of_bucket(bucket);
  const std::uint64_t width = least_of_bucket(bucket + 1) - least;
  scratch.clear();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (weights[i] - least < width &&
        searched.holds(weights[i], id)) {  // in the bucket; wraps below it
      scratch.push_back({weights[i], id});
    }
  }
  const Candidate last = select_last(scratch, before, goal);
  return {last.weight, last.id};
}

}  // namespace deepwell::engine
