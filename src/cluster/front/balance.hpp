// Where new work goes: the least loaded worker, unless another has the prompt's beginning warm.
// Internal to cluster.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cluster/front/cluster_generator.hpp"

namespace deepwell::cluster {

struct Candidate {
  WorkerId id;
  std::uint32_t n_assigned = 0;  // by this front
  std::uint32_t n_parallel = 1;
  std::uint32_t n_kv_blocks_free = 0;
  std::uint32_t weight = 1;
  bool is_backup = false;
  bool is_resting = false;  // it failed of late (RoundRobin::is_resting)
};

/// Those to choose from: backups only where nobody else has a place, and who failed of late only
/// where not even a backup has one.
std::vector<Candidate> most_preferred(std::vector<Candidate> candidates);

/// Index of the least loaded candidate: assigned work per slot and weight, then free KV, then the
/// lower id.
/// Candidates must not be empty.
std::size_t least_loaded(std::span<const Candidate> candidates);

/// Remembers which worker computed a prompt's beginning last. Used under the owner's lock.
class PrefixAffinity {
 public:
  /// The preferred worker if it is among the candidates and not much busier than the least loaded.
  std::size_t choose(std::span<const engine::TokenId> prompt,
                     std::span<const Candidate> candidates);
  void note(std::span<const engine::TokenId> prompt, WorkerId worker);

 private:
  static constexpr std::size_t kMaxEntries = 4096;
  struct Entry {
    WorkerId worker;
    std::list<std::uint64_t>::iterator age;
  };
  std::unordered_map<std::uint64_t, Entry> entries_;  // by hash of the first tokens
  std::list<std::uint64_t> ages_;                     // oldest first
};

}  // namespace deepwell::cluster
