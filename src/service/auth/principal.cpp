// Names of scopes, and the principal of a server without keys.
#include "service/auth/principal.hpp"

namespace deepwell::service {

std::string_view scope_name(Scope scope) {
  switch (scope) {
    case Scope::kInference:
      return "inference";
    case Scope::kModels:
      return "models";
    case Scope::kMetrics:
      return "metrics";
  }
  return "unknown";
}

Scopes Scopes::all() {
  return Scopes().add(Scope::kInference).add(Scope::kModels).add(Scope::kMetrics);
}

Scopes& Scopes::add(Scope scope) {
  bits_ |= 1U << static_cast<unsigned>(scope);
  return *this;
}

bool Scopes::has(Scope scope) const { return (bits_ >> static_cast<unsigned>(scope) & 1U) != 0; }

Principal local_principal() {
  return {.tenant = "local", .subject = "local", .scopes = Scopes::all()};
}

}  // namespace deepwell::service
