// Principal: on whose behalf a call is made. Every service call takes one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace deepwell::service {

/// What a caller may do. Each endpoint names the one it needs.
enum class Scope : std::uint8_t { kInference, kModels, kMetrics };

std::string_view scope_name(Scope scope);

/// A small set of scopes.
class Scopes {
 public:
  static Scopes all();

  Scopes& add(Scope scope);
  bool has(Scope scope) const;

 private:
  std::uint32_t bits_ = 0;
};

struct Principal {
  std::string tenant;   // whose cache, whose quota: "local" without keys
  std::string subject;  // who within the tenant
  Scopes scopes;
};

/// Who calls when no key is configured: whoever can reach the loopback address.
Principal local_principal();

}  // namespace deepwell::service
