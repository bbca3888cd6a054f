// Request: what a handler reads. Its body is read on demand, so that headers can be judged before
// it is sent.
#pragma once

#include <any>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>
#include <vector>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/task.hpp"
#include "net/headers.hpp"

namespace deepwell::net {

struct Route;

/// Where body bytes come from: a connection, or a string in tests.
class BodySource {
 public:
  virtual ~BodySource() = default;
  /// Reads at most `space.size()` bytes; 0 is the end. Same errors as Request::read_body().
  virtual Task<Result<std::size_t>> read_some(std::span<char> space) = 0;
};

/// Lives from the end of the header until the response has ended. Used by one coroutine at a time;
/// the cancel members are thread-safe. Awaiting a member may continue on executor(), whatever
/// thread awaited it.
class Request {
 public:
  // Filled by the server before any middleware runs.
  std::string method;  // "GET"; a HEAD request that a GET route serves stays "HEAD"
  std::string target;  // as sent: "/v1/models/a%20b?x=1"
  std::string path;    // percent-decoded, without the query; any bytes but NUL: "/v1/models/a b"
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  Headers headers;
  std::string peer_ip;  // "127.0.0.1", "::1"
  std::uint16_t peer_port = 0;
  bool is_loopback = false;  // the peer is this machine
  bool is_tls = false;
  std::optional<std::uint64_t> content_length;  // as announced; empty when chunked or without body
  const Route* route = nullptr;  // null when no route matched (the answer will be 404 or 405)
  std::vector<std::pair<std::string, std::string>> params;  // of the route's pattern, decoded
  /// Most body bytes that read_body() accepts: the route's, else the server's. Middleware may lower
  /// it.
  std::uint64_t max_body_bytes = 0;

  /// For tests: a request without a connection; `executor` is where its handler runs.
  Request(Executor& executor, std::unique_ptr<BodySource> body);

  std::optional<std::string_view> query_value(std::string_view name) const;
  /// The value of {name} in the route's pattern. Asking for a name the pattern lacks is a bug and
  /// aborts.
  const std::string& param(std::string_view name) const;

  /// The event loop of the connection. Work over a millisecond belongs on a pool: see offload() of
  /// base/task.hpp.
  Executor& executor() { return *executor_; }

  /// The whole body, once. Sends `100 Continue` first if the client waits for it. Errors:
  /// kResourceExhausted (413: the announced length is checked before anything is read, the received
  /// one while reading), kDeadlineExceeded (408), kInvalidArgument (malformed framing, 400),
  /// kCancelled (the client left). status_of_body_error() of server.hpp maps them.
  Task<Result<std::string>> read_body();
  /// The next part of the body, for uploads: at most `space.size()` bytes; 0 at the end.
  Task<Result<std::size_t>> read_body_some(std::span<char> space);

  /// For handlers that have read all they need and answer for long: headers, target, query, params
  /// and the body's source are gone afterwards.
  void forget_input();

  /// Fires when the client has left before its answer was whole (FIN or RST, also in the middle of a computation), when the
  /// server stops now, or when cancel() is called. A client that only shuts down its sending side
  /// counts as gone, as with nginx and Go; what a handler still writes is sent all the same.
  CancelToken cancel_token() const { return cancel_source_.get_token(); }
  /// Ends the request early (a deadline). The first reason stays.
  void cancel(Error reason);
  /// Why the token fired; kCancelled "the client left" when nobody gave a reason.
  Error cancel_reason() const;

  /// Middleware's gifts to handlers, one of each type: `request.attach(Principal{...})`,
  /// `request.find<Principal>()`.
  template <class T>
  T& attach(T value) {
    return std::any_cast<T&>(
        extras_.insert_or_assign(std::type_index(typeid(T)), std::move(value)).first->second);
  }
  template <class T>
  T* find() {
    const auto found = extras_.find(std::type_index(typeid(T)));
    return found == extras_.end() ? nullptr : std::any_cast<T>(&found->second);
  }

 private:
  Executor* executor_;
  std::unique_ptr<BodySource> body_;
  std::uint64_t n_body_read_ = 0;
  CancelSource cancel_source_;
  mutable std::mutex reason_mutex_;
  std::unique_ptr<const Error> reason_;  // seldom there
  std::map<std::type_index, std::any> extras_;
};

}  // namespace deepwell::net
