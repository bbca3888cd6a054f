// PrefixCache: finds blocks whose keys and values need not be computed again.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/kv_arena.hpp"
#include "engine/runtime/sequence.hpp"

namespace deepwell::engine {

/// A block keeps its name while it is free, until it is written again: whoever needs the same tokens meanwhile takes
/// it, one sequence at a time. Which blocks are hit changes no result (docs/numerics.md), only the work. Used by the
/// engine's thread alone.
class PrefixCache {
 public:
  /// `blocks` has all blocks free. What `arena` holds from an earlier process is found from now on, and what was
  /// given back first is the first to be used for something else; what was in use when that process died is the last.
  PrefixCache(KvArena& arena, BlockPool& blocks, std::string fingerprint);

  /// For a sequence without blocks: takes free blocks that hold its leading tokens and counts these as computed, but
  /// for the rows whose logits are wanted. A block with wrong bytes is forgotten instead.
  void take_prefix(Sequence& sequence);
  /// Before a step computes `n_tok` tokens of it: forgets what its blocks held before.
  void begin_write(const Sequence& sequence, std::uint32_t n_tok);
  /// After n_computed has grown: names the blocks that are full now.
  void commit(Sequence& sequence);
  /// Gives a sequence's blocks back.
  void release(Sequence& sequence);

  /// Whether pool, names and directory agree; for tests and idle moments.
  bool check_integrity() const;

 private:
  std::optional<std::uint32_t> find(const BlockName& name, const BlockName& parent, BlockIds ids);
  void forget(std::uint32_t block);

  KvArena& arena_;
  BlockPool& blocks_;
  std::string fingerprint_;
  // Of whole blocks. Several can have one name: sequences that computed the same tokens side by side.
  std::unordered_multimap<BlockName, std::uint32_t, BlockNameHash> by_name_;
  std::uint64_t n_released_ = 0;
};

}  // namespace deepwell::engine
