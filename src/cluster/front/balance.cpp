// Least load and prefix affinity.
#include "cluster/front/balance.hpp"

#include <algorithm>
#include <tuple>

#include "base/check.hpp"

namespace deepwell::cluster {

namespace {

// Long enough to tell system prompts apart, short enough that every turn of a chat shares it.
constexpr std::size_t kPrefixTok = 64;
// A warm prefix is worth so much more load, but not a queue.
constexpr std::uint32_t kMaxExtraAssigned = 2;

std::uint64_t prefix_hash(std::span<const engine::TokenId> prompt) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a: collisions cost a little balance only
  for (const engine::TokenId id : prompt.first(std::min(prompt.size(), kPrefixTok))) {
    hash = (hash ^ static_cast<std::uint32_t>(id)) * 0x100000001B3ULL;
  }
  return hash;
}

int preference(const Candidate& candidate) {
  if (candidate.is_resting) return 2;
  return candidate.is_backup ? 1 : 0;
}

// Assigned work per slot, without a division: a/p < b/q as a·q < b·p.
bool is_less_loaded(const Candidate& a, const Candidate& b) {
  const std::uint64_t left = std::uint64_t{a.n_assigned} * b.n_parallel * b.weight;
  const std::uint64_t right = std::uint64_t{b.n_assigned} * a.n_parallel * a.weight;
  if (left != right) return left < right;
  if (a.n_kv_blocks_free != b.n_kv_blocks_free) return a.n_kv_blocks_free > b.n_kv_blocks_free;
  return a.id < b.id;
}

}  // namespace

std::vector<Candidate> most_preferred(std::vector<Candidate> candidates) {
  int best = 2;
  for (const Candidate& candidate : candidates) best = std::min(best, preference(candidate));
  std::erase_if(candidates, [best](const Candidate& c) { return preference(c) != best; });
  return candidates;
}

std::size_t least_loaded(std::span<const Candidate> candidates) {
  DW_CHECK(!candidates.empty(), "somebody to choose from");
  const auto least = std::min_element(candidates.begin(), candidates.end(), is_less_loaded);
  return static_cast<std::size_t>(least - candidates.begin());
}

std::size_t PrefixAffinity::choose(std::span<const engine::TokenId> prompt,
                                   std::span<const Candidate> candidates) {
  const std::size_t least = least_loaded(candidates);
  const auto found = entries_.find(prefix_hash(prompt));
  if (found == entries_.end()) return least;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const bool is_warm = candidates[i].id == found->second.worker;
    if (is_warm && candidates[i].n_assigned <= candidates[least].n_assigned + kMaxExtraAssigned &&
        candidates[i].n_assigned < candidates[i].n_parallel) {
      return i;
    }
  }
  return least;
}

void PrefixAffinity::note(std::span<const engine::TokenId> prompt, WorkerId worker) {
  const std::uint64_t hash = prefix_hash(prompt);
  const auto found = entries_.find(hash);
  if (found != entries_.end()) {
    ages_.splice(ages_.end(), ages_, found->second.age);
    found->second.worker = worker;
    return;
  }
  if (entries_.size() == kMaxEntries) {
    entries_.erase(ages_.front());
    ages_.pop_front();
  }
  entries_.emplace(hash, Entry{worker, ages_.insert(ages_.end(), hash)});
}

}  // namespace deepwell::cluster
