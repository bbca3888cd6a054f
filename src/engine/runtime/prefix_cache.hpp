// PrefixCache: finds blocks whose keys and values need not be computed again.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/kv_arena.hpp"
#include "engine/runtime/sequence.hpp"

namespace deepwell::engine {

/// A block keeps its name, in use and free, until somebody takes it for something else: whoever needs the same tokens
/// takes it too. Which blocks are hit changes no result (docs/numerics.md), only the work. Used by the engine's thread
/// alone.
class PrefixCache {
 public:
  /// `blocks` has all blocks free. What `arena` holds from an earlier process is found from now on, and what was
  /// given back first is the first to be used for something else; what was in use when that process died is the last.
  PrefixCache(KvArena& arena, BlockPool& blocks, std::string fingerprint);

  /// For a sequence all of whose computed tokens lie in named blocks: takes the blocks that hold its next tokens, in
  /// place of those it has, and counts these as computed, but for the rows whose logits are wanted. A block into which
  /// such rows will be written must be nobody else's. One with wrong bytes is forgotten instead.
  void take_prefix(Sequence& sequence);
  /// The name of the sequence's i-th block, which its tokens fill.
  const BlockName& name_of(Sequence& sequence, std::uint32_t i) const;
  /// Appends n blocks to write into; what they held is forgotten. The caller has asked the pool's can_take(n).
  void take(std::uint32_t n, Sequence& sequence);
  /// After n_computed has grown: names the blocks that are full now.
  void commit(Sequence& sequence);
  /// Gives a sequence's blocks back.
  void release(Sequence& sequence);

  /// Whether pool, names and directory agree; for tests and idle moments.
  bool check_integrity() const;

 private:
  BlockName parent_of(Sequence& sequence, std::uint32_t i) const;
  std::optional<std::uint32_t> find(const BlockName& name, const BlockName& parent, BlockIds ids,
                                    bool may_be_shared);
  void forget(std::uint32_t block);

  KvArena& arena_;
  BlockPool& blocks_;
  std::string fingerprint_;
  // Of whole blocks. Several can have one name: sequences that computed the same tokens side by side.
  std::unordered_multimap<BlockName, std::uint32_t, BlockNameHash> by_name_;
  std::uint64_t n_released_ = 0;
};

}  // namespace deepwell::engine
