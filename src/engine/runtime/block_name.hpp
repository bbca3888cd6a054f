// BlockName: what a block of keys and values is called: a hash of everything that its content depends on.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/sha256.hpp"
#include "engine/device/device.hpp"
#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

/// The first 128 bits of a SHA-256. Names form a chain: each hashes its parent's name and its own 16 ids, so equal
/// names mean equal tokens from the start on.
struct BlockName {
  std::array<std::uint8_t, 16> bytes{};
  bool operator==(const BlockName&) const = default;

  static BlockName of(const Sha256& hash) {
    const Sha256Digest digest = hash.digest();
    BlockName name;
    std::memcpy(name.bytes.data(), digest.data(), name.bytes.size());
    return name;
  }
  /// A part of it, for hash tables and seeds.
  std::uint64_t word() const {
    std::uint64_t w = 0;
    std::memcpy(&w, bytes.data(), sizeof w);
    return w;
  }
};

struct BlockNameHash {
  std::size_t operator()(const BlockName& name) const { return name.word(); }
};

using BlockIds = std::span<const TokenId, kKvBlockTok>;

/// The parent of a sequence's first block. The tenant is in it, so no tenant can observe what another has cached.
inline BlockName root_block_name(std::string_view fingerprint, std::string_view tenant) {
  Sha256 hash;
  hash.update(fingerprint);
  hash.update(std::string_view("\0", 1));  // neither has a zero byte: "ab" + "c" is not "a" + "bc"
  hash.update(tenant);
  return BlockName::of(hash);
}

inline BlockName next_block_name(const BlockName& parent, BlockIds ids) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(parent.bytes)));
  hash.update(std::as_bytes(ids));
  return BlockName::of(hash);
}

}  // namespace deepwell::engine
