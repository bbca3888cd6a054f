// Host and Origin rules.
#include "edge/access.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace deepwell::edge {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

// "Name:80" -> "name", "[::1]:80" -> "::1", "::1" -> "::1"; a final dot (the DNS root) goes too.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return lower(host.substr(1, host.find(']') - 1));
  if (std::count(host.begin(), host.end(), ':') == 1) host = host.substr(0, host.find(':'));
  if (host.ends_with('.')) host.remove_suffix(1);
  return lower(host);
}

bool is_ip_literal(const std::string& name) {
  std::array<unsigned char, 16> address{};
  return ::inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
}

bool is_any_address(std::string_view host) { return host == "0.0.0.0" || host == "::"; }

}  // namespace

bool is_loopback_host(std::string_view host) {
  const std::string name = host_name(host);
  return name == "localhost" || name == "::1" || (name.starts_with("127.") && is_ip_literal(name));
}

AccessRules::AccessRules(Options options) {
  host_names_ = {"localhost", "127.0.0.1", "::1", host_name(options.bound_host)};
  if (is_any_address(host_names_.back())) {
    allows_ip_literals_ = true;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) == 0) host_names_.push_back(lower(name.data()));
  }
  for (const std::string& host : options.allowed_hosts) {
    allows_any_host_ = allows_any_host_ || host == "*";
    host_names_.push_back(host_name(host));
  }
  for (const std::string& origin : options.allowed_origins) {
    allows_any_origin_ = allows_any_origin_ || origin == "*";
    origins_.push_back(lower(origin));
    if (origins_.back().ends_with('/')) origins_.back().pop_back();
  }
}

bool AccessRules::allows_host(std::string_view host) const {
  if (allows_any_host_) return true;
  const std::string name = host_name(host);
  if (allows_ip_literals_ && is_ip_literal(name)) return true;
  return std::find(host_names_.begin(), host_names_.end(), name) != host_names_.end();
}

bool AccessRules::allows_origin(std::string_view origin, std::string_view host) const {
  if (allows_any_origin_) return true;
  const std::string asked = lower(origin);
  if (std::find(origins_.begin(), origins_.end(), asked) != origins_.end()) return true;
  // The server's own page: scheme and the very authority that the request was sent to.
  const std::string own = lower(host);
  return !own.empty() && (asked == "http://" + own || asked == "https://" + own);
}

}  // namespace deepwell::edge
