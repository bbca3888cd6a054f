// Which proxy the environment wants for a URL. Internal to net.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "net/url.hpp"

namespace deepwell::net {

/// Reads one environment variable; empty if unset.
using ReadEnvironment = std::function<std::string(const char* name)>;

/// The process's own environment.
std::string read_environment(const char* name);

/// http_proxy, https_proxy and all_proxy as curl reads them (lower case first, then upper case);
/// no_proxy lists hosts, domains
/// (".corp", "corp"), "host:port" and "*". Empty: connect directly. Errors: a proxy URL that is
/// malformed or not http.
Result<std::optional<Url>> proxy_for(const Url& target, const ReadEnvironment& environment);

}  // namespace deepwell::net
