// URLs and targets, parsed and resolved by Boost.URL.
#include "net/url.hpp"

#include <algorithm>
#include <boost/url.hpp>
#include <charconv>

#include "base/concat.hpp"

namespace deepwell::net {

namespace urls = boost::urls;

namespace {

std::string_view to_std(boost::core::string_view text) { return {text.data(), text.size()}; }

Result<Url> take_apart(const urls::url_view& view) {
  Url url;
  url.scheme = view.scheme();
  std::transform(url.scheme.begin(), url.scheme.end(), url.scheme.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (url.scheme != "http" && url.scheme != "https") {
    return invalid_argument(
        concat("cannot fetch scheme \"", url.scheme, "\": only http and https are served"));
  }
  url.host = view.host_address();
  if (url.host.empty()) return invalid_argument("the URL names no host");
  url.port = url.is_tls() ? 443 : 80;
  const std::string_view port = to_std(view.port());
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || url.port == 0) {
      return invalid_argument(concat("port ", port, " is not a TCP port"));
    }
  }
  url.target = to_std(view.encoded_target());
  if (url.target.empty() || url.target.front() != '/') url.target.insert(0, "/");
  url.userinfo = view.userinfo();
  return url;
}

// The text of a URL that could not be parsed, without what may be a password.
std::string without_userinfo(std::string_view text) {
  const auto at = text.rfind('@');
  return std::string(at == std::string_view::npos ? text : text.substr(at + 1));
}

}  // namespace

std::string Url::authority() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return concat(is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                has_default_port() ? "" : concat(":", port));
}

std::string Url::text() const { return concat(scheme, "://", authority(), target); }

Result<Url> parse_url(std::string_view text) {
  const auto view = urls::parse_uri({text.data(), text.size()});
  if (!view) {
    return invalid_argument(
        concat("\"", without_userinfo(text), "\" is not a URL: ", view.error().message()));
  }
  return take_apart(*view);
}

Result<Url> resolve_url(const Url& base, std::string_view reference) {
  const std::string base_text = base.text();
  const auto base_view = urls::parse_uri(base_text);
  const auto relative = urls::parse_uri_reference({reference.data(), reference.size()});
  urls::url resolved;
  if (!base_view || !relative || !urls::resolve(*base_view, *relative, resolved)) {
    return invalid_argument(
        concat("the redirect to \"", without_userinfo(reference), "\" is not a URL"));
  }
  return take_apart(resolved);
}

Result<Target> parse_target(std::string_view text) {
  if (text == "*") return Target{"*", {}, {}};
  const urls::string_view boost_text(text.data(), text.size());
  const auto view =
      text.starts_with('/') ? urls::parse_origin_form(boost_text) : urls::parse_uri(boost_text);
  if (!view)
    return invalid_argument("the request target is not a path: percent-encode what is not ASCII");
  Target target;
  target.path = view->path();
  if (target.path.empty()) target.path = "/";
  for (const std::string& segment : view->segments()) target.segments.push_back(segment);
  if (target.path.find('\0') != std::string::npos) {
    return invalid_argument("the request target holds a NUL byte");
  }
  for (const auto& param : view->params({true, false, false})) {
    target.query.emplace_back(param.key, param.value);
  }
  return target;
}

}  // namespace deepwell::net
