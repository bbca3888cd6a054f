// AccessRules: which Host and Origin headers may reach the server from a browser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace deepwell::edge {

/// Whether an address that a server binds to is reachable from this machine only.
bool is_loopback_host(std::string_view host);

/// Keeps web pages of other origins out. A page can send requests to any address, and by DNS
/// rebinding make its own name point here; but it can forge neither the Host nor the Origin header
/// that its browser sends.
class AccessRules {
 public:
  struct Options {
    std::string bound_host;                    // "127.0.0.1", "0.0.0.0", "deepwell.bank.example"
    std::vector<std::string> allowed_hosts;    // names more; "*" allows all
    std::vector<std::string> allowed_origins;  // "https://chat.bank.example"; "*" allows all
  };

  explicit AccessRules(Options options);

  /// `host` is the Host header, port included. Allowed: loopback names, the bound address, the
  /// list, and (when every address is bound) any literal IP address and this machine's name:
  /// rebinding needs another name.
  bool allows_host(std::string_view host) const;

  /// `origin` is the Origin header, `host` the Host header. Allowed: the server's own pages and the
  /// list.
  bool allows_origin(std::string_view origin, std::string_view host) const;

 private:
  std::vector<std::string> host_names_;  // lower case, without port
  std::vector<std::string> origins_;     // lower case
  bool allows_any_host_ = false;
  bool allows_any_origin_ = false;
  bool allows_ip_literals_ = false;
};

}  // namespace deepwell::edge
