// URLs and request targets, taken apart. Boost.URL does the grammar; none of its types shows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace deepwell::net {

/// An absolute http or https URL.
struct Url {
  std::string scheme;  // "http", "https"
  std::string host;    // without brackets: "::1", "example.org"
  std::uint16_t port = 0;
  std::string target;    // "/path?query", as it goes on the wire
  std::string userinfo;  // decoded "name:password", or empty

  bool is_tls() const { return scheme == "https"; }
  bool has_default_port() const { return port == (is_tls() ? 443 : 80); }
  /// For the Host header: "example.org", "[::1]:8080".
  std::string authority() const;
  /// The whole, without userinfo: safe to print.
  std::string text() const;
};

/// Errors: kInvalidArgument, with the text (without userinfo).
Result<Url> parse_url(std::string_view text);
/// Resolves a Location header against the URL it came from.
Result<Url> resolve_url(const Url& base, std::string_view reference);

/// The path and query of a request.
struct Target {
  std::string path;                   // decoded
  std::vector<std::string> segments;  // decoded, one by one: "/a%2Fb/c" is {"a/b", "c"}
  std::vector<std::pair<std::string, std::string>> query;  // decoded, '+' is a space
};

/// Origin form ("/a?b=c"), absolute form or "*". Errors: kInvalidArgument.
Result<Target> parse_target(std::string_view text);

}  // namespace deepwell::net
