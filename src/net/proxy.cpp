// The conventions of http_proxy and no_proxy.
#include "net/proxy.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/concat.hpp"
#include "net/headers.hpp"

namespace deepwell::net {

namespace {

// lower-case name first, then upper case.
std::string read_either(const ReadEnvironment& environment, std::string name) {
  std::string value = environment(name.c_str());
  if (!value.empty()) return value;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return environment(name.c_str());
}

bool excludes(std::string_view entry, const Url& target) {
  if (entry == "*") return true;
  const auto colon = entry.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && entry.find(':') == colon;  // two colons: IPv6
  if (has_port) {
    if (entry.substr(colon + 1) != concat(target.port)) return false;
    entry = entry.substr(0, colon);
  }
  if (entry.starts_with("*.")) entry.remove_prefix(1);
  if (entry.starts_with('.')) entry.remove_prefix(1);
  if (entry.empty() || entry.size() > target.host.size()) return false;
  const std::string_view host = target.host;
  if (!equals_ignore_case(host.substr(host.size() - entry.size()), entry)) return false;
  return host.size() == entry.size() || host[host.size() - entry.size() - 1] == '.';
}

bool is_excluded(std::string_view list, const Url& target) {
  while (!list.empty()) {
    const auto end = std::min(list.find_first_of(", \t"), list.size());
    if (end > 0 && excludes(list.substr(0, end), target)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

std::string read_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Result<std::optional<Url>> proxy_for(const Url& target, const ReadEnvironment& environment) {
  if (is_excluded(read_either(environment, "no_proxy"), target)) return std::optional<Url>();
  std::string value = read_either(environment, concat(target.scheme, "_proxy"));
  if (value.empty()) value = read_either(environment, "all_proxy");
  if (value.empty()) return std::optional<Url>();
  if (value.find("://") == std::string::npos) value.insert(0, "http://");
  auto proxy = parse_url(value);
  if (!proxy) {
    return invalid_argument(concat("the proxy of the environment (", target.scheme,
                                   "_proxy or all_proxy) cannot be used: ", proxy.error().message));
  }
  if (proxy->is_tls()) {
    return Error{Code::kUnimplemented, concat("the proxy ", proxy->authority(),
                                              " is an https:// one; set an http:// proxy URL")};
  }
  return std::optional<Url>(std::move(*proxy));
}

}  // namespace deepwell::net
