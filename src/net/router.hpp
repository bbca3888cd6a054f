// Router: method and path pattern to handler, with one ordered list of middleware around every
// answer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/task.hpp"
#include "net/request.hpp"
#include "net/response.hpp"

namespace deepwell::net {

/// Answers one request. May be a capturing lambda coroutine: the router keeps it alive longer than
/// any request.
using Handler = std::function<Task<void>(Request&, ResponseWriter&)>;

/// Wraps the rest of the list: looks, answers itself or `co_await next(request, writer)`, looks
/// again. It runs for unmatched requests too (request.route is null), so that 404s are logged and
/// counted. `next` outlives the request. One that only looks before may return `next(request,
/// writer)` and need no coroutine; what it throws then reaches the middleware around it, as ever.
using Middleware = std::function<Task<void>(Request&, ResponseWriter&, const Handler& next)>;

/// One line of the route table.
struct Route {
  std::string method;  // "GET" serves HEAD too
  std::string
      pattern;  // "/v1/models/{id}"; the last segment may be {name...}: the rest of the path
  Handler handler;
  std::uint64_t max_body_bytes = 0;           // 0: the server's limit
  std::map<std::string, std::string> labels;  // what middleware wants to know: {"scope", "chat"}
};

/// Filled once, then read by every loop. Literal segments beat {params}. Paths are case-sensitive,
/// percent-decoded per segment (%2F stays inside its segment), and "/a" is not "/a/".
class Router {
 public:
  Router();
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  /// A pattern that is malformed or taken is a programmer's bug and aborts.
  void add(Route route);
  void add(std::string method, std::string pattern, Handler handler);

  /// The first one sees the request first.
  void use(Middleware middleware);

  /// How 404, 405 and built-in errors look ("api" wants its JSON envelope). Default: plain text. It
  /// runs inside the middleware; status is 404 or 405, and `message` says why.
  using ErrorBody = std::function<Response(int status, std::string_view message)>;
  void on_error(ErrorBody make);

  /// Finds the route of request.method and request.target, fills path, query, route and params, and
  /// runs middleware and handler. No match: 404, or 405 with Allow; OPTIONS on a known path without
  /// its own route: 204 with Allow. A target that cannot be decoded: 400.
  Task<void> dispatch(Request& request, ResponseWriter& writer) const;

  /// The body of a built-in error, as on_error() makes it.
  Response error_response(int status, std::string_view message) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::net
