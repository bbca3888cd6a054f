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
  const auto top = static_cast<unsigned>(std::bit_width(weight)) - 1;
  const std::uint64_t next = ((weight << kSubBits) >> top) & ((1U << kSubBits) - 1);
  return (std::size_t{top} << kSubBits) | static_cast<std::size_t>(next);
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

Mass mass_of(std::span<const std::uint64_t> weights, const Prefix& prefix) {
  Mass mass;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (prefix.holds(weights[i], static_cast<TokenId>(i))) {
      mass.add(weights[i]);
    }
  }
  return mass;
}

Prefix shortest_prefix(std::span<const std::uint64_t> weights, const Prefix& outer,
                       const Goal& goal, std::vector<Candidate>& scratch) {
  std::array<Mass, kBuckets> buckets{};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (outer.holds(weights[i], static_cast<TokenId>(i))) {
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
  scratch.clear();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (outer.holds(weights[i], id) && bucket_of(weights[i]) == bucket) {
      scratch.push_back({weights[i], id});
    }
  }
  const Candidate last = select_last(scratch, before, goal);
  return {last.weight, last.id};
}

}  // namespace deepwell::engine
