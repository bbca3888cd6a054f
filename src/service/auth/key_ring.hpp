// KeyRing: the API keys that this server accepts, and whose they are.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "service/auth/principal.hpp"

namespace deepwell::service {

/// How large tenants' shares are beside each other's, where they differ from 1.
using TenantWeights = std::map<std::string, std::uint32_t, std::less<>>;

/// Where keys come from. Both may be given; both empty means that no key is asked for.
struct KeySource {
  std::string api_key;  // one key; its tenant is "default"
  // Lines of `name = key` or `tenant/name = key`; `#` starts a comment line. A name alone is a tenant
  // with one key.
  std::string key_file_path;
  // "NAME=N": the tenant's share of the computing counts N times another's. 1 to kMaxTenantWeight.
  std::vector<std::string> tenant_weights;
};

inline constexpr std::uint32_t kMaxTenantWeight = 1000;

/// Holds hashes only, never a key. Immutable and thread-safe once made.
class KeyRing {
 public:
  /// Reads and checks every key. Errors: kNotFound (no such file), kInvalidArgument (a line that is
  /// not `name = key`, an empty or repeated name or key: the message has the line's number, never
  /// the key; a weight that is none, or of a tenant without a key). Warns if other users of the
  /// machine can read the file.
  static Result<KeyRing> open(const KeySource& source, Log& log);

  /// True if no key is configured.
  bool is_open() const { return entries_.empty(); }
  std::size_t n_tenants() const;
  const TenantWeights& weights() const { return weights_; }

  /// Whose key this is. Takes the same time for every key of a length: SHA-256 hashes are compared,
  /// all of them.
  std::optional<Principal> find(std::string_view key) const;

 private:
  using Digest = std::array<std::uint8_t, 32>;
  struct Entry {
    std::string tenant;
    std::string subject;
    Digest digest;
  };

  static Digest digest_of(std::string_view key);
  Status add(std::string_view name, std::string_view key, std::string_view where);
  Status read_file(const std::string& path, Log& log);
  Status add_weight(std::string_view line);
  std::vector<std::string> tenants() const;

  std::vector<Entry> entries_;
  TenantWeights weights_;
};

}  // namespace deepwell::service
