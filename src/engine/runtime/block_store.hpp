// BlockStore: where blocks of keys and values are kept beyond memory, for a later process too.
//
// The engine knows no database and no cipher: whoever wires the program together hands one in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.hpp"
#include "engine/runtime/block_name.hpp"

namespace deepwell::engine {

/// Which block: by its name, and by everything that the name stands for, so that an equal name alone proves nothing.
struct BlockLabel {
  BlockName name, parent;
  std::array<TokenId, kKvBlockTok> ids{};
  std::uint32_t index = 0;  // its place in its sequence; the end of a sequence is dropped first
  std::string tenant;
};

/// One thread calls everything but has() and used_bytes(), which any thread may call. A block is given back with the very
/// bytes that were saved under its label, or not at all.
class BlockStore {
 public:
  virtual ~BlockStore() = default;

  /// The first call, repeated until it succeeds; all blocks have `block_bytes` bytes. Error: kUnavailable.
  virtual Status begin(const std::string& fingerprint, std::uint64_t block_bytes) = 0;
  /// As far as it knows; never waits for a disk.
  virtual bool has(const BlockName& name) const = 0;
  /// Saves a block, in place of those that were longest not used if there is no room. One that it has is fine.
  /// Error: kUnavailable (the disk is full or fails).
  virtual Status save(const BlockLabel& label, std::span<const std::byte> bytes) = 0;
  /// Fills `bytes`, whose content does not matter after an error. Errors: kNotFound, kDataLoss (what is there is not what
  /// was saved; it is forgotten), kUnavailable.
  virtual Status load(const BlockLabel& label, std::span<std::byte> bytes) = 0;
  /// Every second or so: `used` were of use since the last call; what other processes saved becomes known.
  virtual Status tend(std::span<const BlockName> used) = 0;
  /// Of all blocks that it keeps, those of other models and processes too.
  virtual std::uint64_t used_bytes() const = 0;
};

}  // namespace deepwell::engine
