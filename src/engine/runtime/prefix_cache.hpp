// PrefixCache: finds blocks whose keys and values need not be computed again.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/block_spill.hpp"
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
  /// With a `spill` (which outlives this) blocks that memory lacks come from there, and new ones go there.
  PrefixCache(KvArena& arena, BlockPool& blocks, std::string fingerprint,
              BlockSpill* spill = nullptr);

  /// For a sequence all of whose computed tokens lie in named blocks: takes the blocks that hold its next tokens, in
  /// place of those it has, and counts these as computed, but for the rows whose logits are wanted. A block into which
  /// such rows will be written must be nobody else's. One with wrong bytes is forgotten instead. What comes from the
  /// spill is copied into the sequence's own blocks. True: the next block is on its way from there; ask again soon.
  bool take_prefix(Sequence& sequence);
  /// The name of the sequence's i-th block, which its tokens fill.
  const BlockName& name_of(Sequence& sequence, std::uint32_t i) const;
  /// Appends n blocks to write into; what they held is forgotten. The caller has asked the pool's can_take(n).
  void take(std::uint32_t n, Sequence& sequence);
  /// After n_computed has grown: names the blocks that are full now.
  void commit(Sequence& sequence);
  /// Gives a sequence's blocks back.
  void release(Sequence& sequence);

  /// Hands blocks that were computed or used since to the spill, first come first: at most `n_copies` copies, and not
  /// more than it has room for. A block that was taken for something else meanwhile is passed over.
  void spill(std::uint32_t n_copies);
  /// Whether some still wait for that.
  bool has_to_spill() const { return !to_spill_.empty(); }

  /// Whether pool, names and directory agree; for tests and idle moments.
  bool check_integrity() const;

 private:
  BlockName parent_of(Sequence& sequence, std::uint32_t i) const;
  std::optional<std::uint32_t> find(const BlockName& name, const BlockName& parent, BlockIds ids,
                                    bool may_be_shared);
  void forget(std::uint32_t block);
  BlockLabel label_of(Sequence& sequence, std::uint32_t i) const;
  BlockNews ask_spill(Sequence& sequence, std::uint32_t i);
  void fill_from_spill(Sequence& sequence, std::uint32_t i);
  void offer(const Sequence& sequence, std::uint32_t i);

  /// What the spill must know of a block that it may want.
  struct Offer {
    BlockName name;
    std::uint32_t index = 0;
    std::string tenant;
    bool is_queued = false;
  };

  KvArena& arena_;
  BlockPool& blocks_;
  std::string fingerprint_;
  // Of whole blocks. Several can have one name: sequences that computed the same tokens side by side.
  std::unordered_multimap<BlockName, std::uint32_t, BlockNameHash> by_name_;
  std::uint64_t n_released_ = 0;

  BlockSpill* spill_;                   // may be null
  std::vector<Offer> offers_;           // [n_blocks], the last of each; empty without a spill
  std::deque<std::uint32_t> to_spill_;  // blocks whose offers are queued
};

}  // namespace deepwell::engine
