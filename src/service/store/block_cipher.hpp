// BlockCipher: what blocks of keys and values are called on disk, and how they are sealed. Internal to store.
// Format: docs/formats/kv-disk.md
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "engine/runtime/block_store.hpp"

namespace deepwell::service {

using BlockSecret = std::array<std::byte, 32>;

/// Reads the key file, or makes it (mode 0600) from the system's random numbers; of processes that make it at once all
/// get the same. Errors: those of files; kDataLoss (it is there, and is no key).
Result<BlockSecret> load_or_make_block_secret(const std::string& path);

/// One secret for all; each tenant's blocks are sealed with a key of its own (HKDF-SHA256, RFC 5869) by AES-256-GCM
/// (NIST SP 800-38D), bound to everything in the label. Names and tenants appear as HMAC-SHA256 only, so that whoever
/// reads the file cannot test a guess of a prompt.
class BlockCipher {
 public:
  using RowKey = std::array<std::byte, 16>;

  /// Error: kInternal (this OpenSSL lacks the algorithms).
  static Result<std::unique_ptr<BlockCipher>> create(const BlockSecret& secret,
                                                     std::string fingerprint);
  ~BlockCipher();
  BlockCipher(const BlockCipher&) = delete;
  BlockCipher& operator=(const BlockCipher&) = delete;

  RowKey row_key(const engine::BlockName& name) const;  // thread-safe
  RowKey tenant_key(std::string_view tenant) const;     // thread-safe
  /// The same for the same secret: tells a file of another key.
  RowKey key_check() const;

  static constexpr std::size_t kOverheadBytes = 12 + 16;  // nonce and tag

  /// Nonce, ciphertext, tag.
  Status seal(const engine::BlockLabel& label, std::span<const std::byte> bytes,
              std::vector<std::byte>& sealed);
  /// Error: kDataLoss (not what was sealed under this label). Then `bytes` hold nothing of use.
  Status open(const engine::BlockLabel& label, std::span<const std::byte> sealed,
              std::span<std::byte> bytes);

 private:
  struct Context;  // of OpenSSL
  using Key = std::array<std::byte, 32>;

  BlockCipher(const BlockSecret& secret, std::string fingerprint);
  RowKey mac(std::string_view what, std::span<const std::byte> of) const;
  Result<const Key*> key_of(const std::string& tenant);
  Status begin(bool is_sealing, const engine::BlockLabel& label, std::span<const std::byte> nonce);

  const BlockSecret secret_;
  const std::string fingerprint_;
  Key naming_key_{};
  std::unordered_map<std::string, Key> keys_;  // by tenant
  std::unique_ptr<Context> context_;
};

}  // namespace deepwell::service
