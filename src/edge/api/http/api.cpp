// The list of endpoints, and how errors are sent.
#include "edge/api/http/api.hpp"

#include <algorithm>
#include <cmath>

#include "base/concat.hpp"
#include "base/suggest.hpp"
#include "edge/api/http/errors.hpp"
#include "edge/middleware.hpp"

namespace deepwell::edge {

extern const Endpoint kEndpoint_index;
extern const Endpoint kEndpoint_health;
extern const Endpoint kEndpoint_healthz;
extern const Endpoint kEndpoint_livez;
extern const Endpoint kEndpoint_readyz;
extern const Endpoint kEndpoint_metrics;
extern const Endpoint kEndpoint_v1_models;
extern const Endpoint kEndpoint_v1_model;
extern const Endpoint kEndpoint_v1_chat_completions;
extern const Endpoint kEndpoint_v1_stream;
extern const Endpoint kEndpoint_v1_stream_stop;

namespace {

const Endpoint* const kEndpoints[] = {
    &kEndpoint_index,     &kEndpoint_healthz,
    &kEndpoint_livez,     &kEndpoint_readyz,
    &kEndpoint_metrics,   &kEndpoint_v1_models,
    &kEndpoint_v1_model,  &kEndpoint_v1_chat_completions,
    &kEndpoint_v1_stream, &kEndpoint_v1_stream_stop,
};

constexpr std::string_view kRetryAfterSeconds = "5";

// The server's own refusals (404, 405, 413, ...) in the envelope of all other errors.
net::Response built_in_error(int status, std::string_view message) {
  Error error{.code = Code::kInvalidArgument, .message = std::string(message)};
  switch (status) {
    case 404:
      error.code = Code::kNotFound;
      error.reason = kReasonNoSuchPath;
      error.message += ": GET / lists what there is";
      break;
    case 405:
      error.reason = kReasonMethodNotAllowed;
      break;
    case 413:
      error.code = Code::kOutOfRange;
      error.reason = kReasonBodyTooLarge;
      break;
    case 408:
      error.code = Code::kDeadlineExceeded;
      error.reason = kReasonRequestTimeout;
      break;
    case 503:
      error.code = Code::kUnavailable;
      break;
    default:
      if (status >= 500) error.code = Code::kInternal;
  }
  net::Response response = error_response(error, Language::kEnglish);
  response.status = status;
  return response;
}

}  // namespace

bool Api::serves_model(std::string_view name) const {
  if (name == "default") return true;  // whatever is served: examples work with any model
  return std::find(model_names.begin(), model_names.end(), name) != model_names.end();
}

Health Api::health_now() {
  if (!is_ready.load()) return Health::kLoading;
  if (is_draining.load() || is_handing_over.load()) return Health::kDraining;
  if (health->is_stalled()) return Health::kStalled;
  if (options.workers) {
    const std::vector<WorkerReport> workers = options.workers();
    const auto gives_tokens = [](const WorkerReport& worker) {
      return worker.state == "ready" || worker.state == "busy";
    };
    if (!workers.empty() && std::none_of(workers.begin(), workers.end(), gives_tokens)) {
      return Health::kNoWorker;
    }
  }
  return store.health().is_degraded ? Health::kDegraded : Health::kReady;
}

Readiness Api::readiness() const {
  if (is_ready.load() || !options.readiness) return {};
  Readiness now = options.readiness();
  now.is_ready = false;  // the dialogue is still to be made
  if (!now.eta) now.eta = loading.eta_s();
  return now;
}

std::chrono::seconds retry_after(const Readiness& readiness) {
  constexpr double kUnknownS = 5.0;
  const double eta_s = std::clamp(readiness.eta.value_or(kUnknownS), 1.0, 600.0);
  return std::chrono::seconds(static_cast<int>(std::ceil(eta_s)));
}

std::span<const Endpoint* const> endpoints() { return kEndpoints; }

net::Router make_router(Api& api) {
  net::Router router;
  install_middleware(router, api);
  for (const Endpoint* endpoint : endpoints()) {
    net::Route route;
    route.method = endpoint->method;
    route.pattern = endpoint->path;
    route.labels["endpoint"] = endpoint->name;
    if (endpoint->scope) route.labels["scope"] = service::scope_name(*endpoint->scope);
    route.handler = [&api, endpoint](net::Request& request, net::ResponseWriter& writer) {
      return endpoint->handle(api, request, writer);
    };
    router.add(std::move(route));
  }
  router.on_error(built_in_error);
  return router;
}

net::Response error_response(const Error& error, Language language, const ErrorDetails& details) {
  const int status = http_error_row(error).status;
  net::Response response =
      net::make_response(status, net::kJson, error_body(error, language, details));
  if (status == 429 || status == 503) {
    response.headers.set("Retry-After", details.retry_after
                                            ? std::to_string(details.retry_after->count())
                                            : std::string(kRetryAfterSeconds));
  }
  if (status == 401) response.headers.set("WWW-Authenticate", "Bearer");
  return response;
}

Task<void> send_error(net::Request& request, net::ResponseWriter& writer, Error error,
                      ErrorDetails details) {
  const RequestInfo* info = request.find<RequestInfo>();
  net::Response response =
      error_response(error, info == nullptr ? Language::kEnglish : info->language, details);
  co_await send(writer, std::move(response));
}

Task<void> send_error(const Api& api, net::Request& request, net::ResponseWriter& writer,
                      Error error) {
  ErrorDetails details;
  const bool is_overload =
      error.code == Code::kResourceExhausted || error.reason == service::kReasonQueueFull;
  if (is_overload) {
    const service::Congestion congestion = api.dialogue->congestion();
    details.queue_position = congestion.position;
    details.retry_after = congestion.wait;
  }
  co_await send_error(request, writer, std::move(error), std::move(details));
}

Task<void> send(net::ResponseWriter& writer, net::Response response) {
  const Status sent = co_await writer.send(std::move(response));
  static_cast<void>(sent);
}

Error unknown_model(const Api& api, const std::string& name) {
  return {.code = Code::kNotFound,
          .message =
              concat("model '", name, "' is not served here", did_you_mean(name, api.model_names),
                     ": use '", api.model_names.front(), "' or see GET /v1/models"),
          .reason = std::string(kReasonModelNotFound),
          .field = "model"};
}

}  // namespace deepwell::edge
