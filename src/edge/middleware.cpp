// The middleware of the HTTP API; install_middleware() at the end is the list.
#include "edge/middleware.hpp"

#include <algorithm>
#include <exception>
#include <memory>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "edge/api/http/errors.hpp"

namespace deepwell::edge {

namespace {

using net::Handler;
using net::Request;
using net::ResponseWriter;

constexpr std::string_view kNobody = "-";  // the key name of requests without a principal

bool is_id_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == ':';
}

// A client's id is kept if it can stand in a log line and a header, else replaced.
std::string id_of(const Request& request) {
  const std::string_view given = request.headers.get("X-Request-Id").value_or("");
  const bool is_usable =
      !given.empty() && given.size() <= 128 && std::all_of(given.begin(), given.end(), is_id_char);
  return is_usable ? std::string(given) : random_id("req-");
}

std::string_view label_of(const Request& request, const std::string& label) {
  if (request.route == nullptr) return {};
  const auto found = request.route->labels.find(label);
  return found == request.route->labels.end() ? std::string_view() : found->second;
}

net::Middleware request_id() {
  return [](Request& request, ResponseWriter& writer, const Handler& next) {
    RequestInfo info;
    info.id = id_of(request);
    info.language = preferred_language(request.headers.get("Accept-Language").value_or(""));
    writer.extra_headers.set("X-Request-Id", info.id);
    writer.extra_headers.set("X-Content-Type-Options", "nosniff");
    request.attach(std::move(info));
    return next(request, writer);
  };
}

void note_end(Api& api, Request& request, const ResponseWriter& writer, SteadyTime start) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto* principal = request.find<service::Principal>();
  const std::string_view key_name = principal == nullptr ? kNobody : principal->tenant;
  const std::string_view endpoint = label_of(request, "endpoint");
  const int status = writer.is_started() ? writer.status() : 499;
  api.metrics.count_request(endpoint.empty() ? "none" : endpoint, status, key_name, took.count());
  api.log.debug(request.find<RequestInfo>()->id, " ", request.method, " ", request.path, " ",
                status, " ", took.count(), " s, key ", key_name);
}

net::Middleware metrics(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    const auto start = std::chrono::steady_clock::now();
    co_await next(request, writer);
    note_end(api, request, writer, start);
  };
}

std::string what(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "unknown exception";
  }
}

Task<void> answer_failure(Api& api, Request& request, ResponseWriter& writer,
                          std::exception_ptr failure) {
  co_await resume_on(request.executor());
  api.log.error("request ", request.find<RequestInfo>()->id, " failed: ", what(failure));
  if (writer.is_started()) {
    writer.abort();
    co_return;
  }
  Error error = internal_error("the server failed on this request: its log has the reason");
  co_await send_error(request, writer, std::move(error));
}

net::Middleware exception_barrier(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    std::exception_ptr failure;
    try {
      co_await next(request, writer);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) co_await answer_failure(api, request, writer, failure);
  };
}

// Why a request is refused before any work is done for it, if so.
struct Refusal {
  Error error;
  ErrorDetails details = {};
};
using Check = std::optional<Refusal> (*)(Api& api, Request& request);

std::optional<Refusal> body_limit(Api&, Request& request) {
  if (request.content_length.value_or(0) <= request.max_body_bytes) return std::nullopt;
  return Refusal{{.code = Code::kOutOfRange,
                  .message = concat("the body has ", *request.content_length, " bytes, at most ",
                                    request.max_body_bytes, " are accepted"),
                  .reason = std::string(kReasonBodyTooLarge)}};
}

void allow_cross_origin(ResponseWriter& writer, std::string_view origin) {
  writer.extra_headers.set("Access-Control-Allow-Origin", std::string(origin));
  writer.extra_headers.set("Access-Control-Expose-Headers",
                           "X-Request-Id, Retry-After, Deepwell-Stream-Id, Deepwell-Resumable");
  writer.extra_headers.add("Vary", "Origin");
}

// The answer to a browser that asks whether it may send the real request
// (https://fetch.spec.whatwg.org/#http-cors-protocol).
net::Response preflight_response() {
  net::Response response;
  response.status = 204;
  response.headers.set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
  response.headers.set("Access-Control-Allow-Headers",
                       "Authorization, Content-Type, X-Api-Key, X-Request-Id, Idempotency-Key, "
                       "Last-Event-ID");
  response.headers.set("Access-Control-Max-Age", "600");
  return response;
}

// Why a browser's request may not come in, if so.
std::optional<Error> access_error(const Api& api, std::optional<std::string_view> host,
                                  std::optional<std::string_view> origin) {
  if (host && !api.access.allows_host(*host)) {
    return Error{.code = Code::kPermissionDenied,
                 .message = concat("the host '", *host,
                                   "' is not served here: start with --allow-host to allow it"),
                 .reason = std::string(kReasonHostNotAllowed)};
  }
  if (origin && !api.access.allows_origin(*origin, host.value_or(""))) {
    return Error{
        .code = Code::kPermissionDenied,
        .message = concat("pages of '", *origin,
                          "' may not call this server: start with --allow-origin to allow them"),
        .reason = std::string(kReasonOriginNotAllowed)};
  }
  return std::nullopt;
}

net::Middleware host_and_origin(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) {
    const auto origin = request.headers.get("Origin");
    std::optional<Error> error = access_error(api, request.headers.get("Host"), origin);
    if (error) return send_error(request, writer, std::move(*error));
    if (origin) allow_cross_origin(writer, *origin);
    if (origin && request.method == "OPTIONS" &&
        request.headers.contains("Access-Control-Request-Method")) {
      return send(writer, preflight_response());
    }
    return next(request, writer);
  };
}

std::string_view key_of(const Request& request) {
  const std::string_view authorization = request.headers.get("Authorization").value_or("");
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() > kBearer.size() &&
      net::equals_ignore_case(authorization.substr(0, kBearer.size()), kBearer)) {
    return authorization.substr(kBearer.size());
  }
  return request.headers.get("X-Api-Key").value_or("");
}

std::optional<Refusal> authentication(Api& api, Request& request) {
  if (api.keys.is_open()) {
    request.attach(service::local_principal());
    return std::nullopt;
  }
  if (label_of(request, "scope").empty()) return std::nullopt;
  const std::string_view key = key_of(request);
  std::optional<service::Principal> principal = api.keys.find(key);
  if (!principal) {
    return Refusal{
        {.code = Code::kUnauthenticated,
         .message = concat(key.empty() ? "no API key was sent" : "the API key is not known here",
                           ": send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'"),
         .reason = std::string(kReasonInvalidApiKey)}};
  }
  request.attach(std::move(*principal));
  return std::nullopt;
}

std::optional<service::Scope> needed_scope(const Request& request) {
  const std::string_view name = label_of(request, "scope");
  for (const auto scope :
       {service::Scope::kInference, service::Scope::kModels, service::Scope::kMetrics}) {
    if (service::scope_name(scope) == name) return scope;
  }
  return std::nullopt;
}

std::optional<Refusal> scope(Api&, Request& request) {
  const auto needed = needed_scope(request);
  const auto* principal = request.find<service::Principal>();
  if (!needed || (principal != nullptr && principal->scopes.has(*needed))) return std::nullopt;
  return Refusal{
      {.code = Code::kPermissionDenied,
       .message = concat("this key lacks the scope '", service::scope_name(*needed), "'"),
       .reason = std::string(kReasonMissingScope)}};
}

Task<void> send_draining(Request& request, ResponseWriter& writer) {
  Error error{.code = Code::kUnavailable,
              .message = "the server is shutting down: try again in a few seconds",
              .reason = std::string(kReasonShuttingDown)};
  return send_error(request, writer, std::move(error));
}

// Counts what is inside, and lets nothing new in while the server drains.
net::Middleware draining(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    if (needed_scope(request) != service::Scope::kInference) {
      co_await next(request, writer);
      co_return;
    }
    struct Inside {
      explicit Inside(std::atomic<int>& count) : n(count) { ++n; }
      ~Inside() { --n; }
      std::atomic<int>& n;
    };
    // Counted before the flag is read, so that the drain sees everyone who got in.
    const Inside inside(api.n_inference);
    auto answer = api.is_draining.load() ? send_draining(request, writer) : next(request, writer);
    co_await std::move(answer);
  };
}

// Who needs the model waits until there is one.
std::optional<Refusal> loading(Api& api, Request& request) {
  const auto needed = needed_scope(request);
  const bool needs_model =
      needed == service::Scope::kInference || needed == service::Scope::kModels;
  if (!needs_model || api.is_ready.load()) return std::nullopt;
  const Readiness readiness = api.readiness();
  Refusal refusal;
  refusal.error = {
      .code = Code::kUnavailable,
      .message = concat("the model is still loading",
                        readiness.text.empty() ? "" : concat(" (", readiness.text, ")"),
                        ": try again in ", retry_after(readiness).count(), " s"),
      .reason = std::string(kReasonModelLoading)};
  refusal.details.progress = readiness.progress;
  refusal.details.retry_after = retry_after(readiness);
  return refusal;
}

// Also a defence: a page of another origin can post text/plain without asking first, but not JSON.
std::optional<Refusal> json_content_type(Api&, Request& request) {
  if (request.method != "POST" || request.route == nullptr) return std::nullopt;
  std::string_view type = request.headers.get("Content-Type").value_or("");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (net::equals_ignore_case(type, net::kJson)) return std::nullopt;
  return Refusal{{.code = Code::kInvalidArgument,
                  .message = concat("expected 'Content-Type: application/json', got '", type, "'"),
                  .reason = std::string(kReasonUnsupportedMediaType)}};
}

constexpr Check kChecks[] = {
    body_limit,         // before anything looks at the body
    authentication,     // says who; the rest judge that
    scope,              // needs the principal
    loading,            // after scope: strangers learn nothing about the server's state
    json_content_type,  // cheap refusals before the clock starts
};

net::Middleware checks(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) {
    for (const Check check : kChecks) {
      if (auto refusal = check(api, request)) {
        return send_error(request, writer, std::move(refusal->error), std::move(refusal->details));
      }
    }
    return next(request, writer);
  };
}

// The timer's work may be queued already when the request ends: it looks at `is_alive` first. Both
// run on the loop.
TimerId arm_deadline(Api& api, Request& request, std::shared_ptr<const bool> is_alive) {
  const auto limit = api.options.request_timeout;
  return request.executor().post_at(
      std::chrono::steady_clock::now() + limit, [&request, limit, is_alive = std::move(is_alive)] {
        if (!*is_alive) return;
        request.cancel({.code = Code::kDeadlineExceeded,
                        .message = concat("the answer took longer than ", limit.count(),
                                          " s: ask for fewer tokens, or raise --request-timeout")});
      });
}

net::Middleware deadline(Api& api) {
  return [&api](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    const auto is_alive = std::make_shared<bool>(true);
    const TimerId timer = arm_deadline(api, request, is_alive);
    std::exception_ptr failure;
    try {
      co_await next(request, writer);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await resume_on(request.executor());
    *is_alive = false;
    request.executor().cancel_timer(timer);
    if (failure) std::rethrow_exception(failure);
  };
}

}  // namespace

// What only looks before its neighbour hands on `next`'s task and is no coroutine itself: the frame
// of each coroutine here lives as long as its answer. The same goes for errors, which are big: they
// are sent by functions of their own.
void install_middleware(net::Router& router, Api& api) {
  // Outermost first.
  router.use(request_id());  // first: every answer and log line below carries the id
  router.use(metrics(api));  // outside the barrier: failures are counted with their status
  router.use(exception_barrier(api));  // around everything that may throw
  router.use(host_and_origin(
      api));  // before keys: a foreign page must not be able to try keys, and preflights have none
  router.use(checks(api));    // kChecks, in its order
  router.use(draining(api));  // after scope, as loading is
  router.use(deadline(api));  // innermost: times the work itself
}

}  // namespace deepwell::edge
