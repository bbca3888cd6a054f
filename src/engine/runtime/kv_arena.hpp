// KvArena: the memory of keys and values, with a directory that says what its blocks hold.
// Layout: docs/formats/kv-arena.md
//
// It may lie in a memfd of the supervisor. Then a worker that was restarted finds what its predecessor had computed,
// wherever that one died: a block counts only if its entry was completed after the block.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.hpp"
#include "engine/device/cpu/cpu_memory.hpp"
#include "engine/device/device.hpp"
#include "engine/runtime/block_name.hpp"

namespace deepwell::engine {

/// A block's line in the directory. Zeroed memory is an empty entry.
struct KvBlockEntry {
  static constexpr std::uint32_t kEmpty = 0;
  static constexpr std::uint32_t kWhole = 0x4B56576F;  // anything else is damage
  static constexpr std::uint64_t kInUse = UINT64_MAX;

  std::atomic<std::uint32_t> state;
  std::uint32_t reserved;
  std::atomic<std::uint64_t> released_at;  // a count of releases, or kInUse; not trusted
  std::uint64_t checksum;                  // checksum64 of the block's bytes, seeded with its name
  BlockName name, parent;
  std::array<TokenId, kKvBlockTok> ids;
  std::uint64_t unused;
};
static_assert(sizeof(KvBlockEntry) == 128);

/// What must be equal for blocks of an earlier process to be of use.
struct KvArenaKey {
  std::string_view fingerprint;  // of the model; at most 63 bytes count
  KvShape shape;
};

/// One engine owns an arena; its thread alone calls what is not const.
class KvArena {
 public:
  /// Blocks of the arena that lies in `fd` already, if it is one with this key; else 0.
  static std::uint32_t find_blocks(int fd, const KvArenaKey& key);

  /// Over `fd` (-1: memory of this process), sized to n_blocks. What is there with the same key and size is adopted;
  /// anything else is thrown away. The caller keeps `fd` open while the arena lives.
  /// Errors: kResourceExhausted (no memory), kAborted (another process has it), kInvalidArgument (no such memory file).
  static Result<KvArena> open(int fd, const KvArenaKey& key, std::uint32_t n_blocks);

  std::uint32_t n_blocks() const { return n_blocks_; }
  std::uint64_t block_bytes() const { return block_bytes_; }
  /// All blocks, one after the other.
  std::span<std::byte> blocks() { return {payload_, block_bytes_ * n_blocks_}; }
  std::span<std::byte> bytes_of(std::uint32_t block) {
    return {payload_ + block * block_bytes_, block_bytes_};
  }
  std::span<const std::byte> bytes_of(std::uint32_t block) const {
    return {payload_ + block * block_bytes_, block_bytes_};
  }

  bool is_whole(std::uint32_t block) const;
  const KvBlockEntry& entry(std::uint32_t block) const { return entries_[block]; }

  /// To be called before a block is written with something else.
  void forget(std::uint32_t block);
  /// Says that a block holds keys and values of `ids` after the chain that ends with `parent`, all of them.
  void commit(std::uint32_t block, const BlockName& name, const BlockName& parent, BlockIds ids);
  /// Whether it is whole and of these tokens, by everything that the entry says.
  bool holds(std::uint32_t block, const BlockName& name, const BlockName& parent,
             BlockIds ids) const;
  /// Whether its bytes are those that were committed.
  bool has_right_bytes(std::uint32_t block) const;
  /// Notes for a successor in which order blocks were given back.
  void set_released_at(std::uint32_t block, std::uint64_t count);

 private:
  CpuMemory memory_;
  KvBlockEntry* entries_ = nullptr;  // [n_blocks]
  std::byte* payload_ = nullptr;     // [n_blocks][block_bytes]
  std::uint64_t block_bytes_ = 0;
  std::uint32_t n_blocks_ = 0;
};

}  // namespace deepwell::engine
