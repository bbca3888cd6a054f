// What every endpoint and middleware of the HTTP API works with, and the shape of an endpoint.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/task.hpp"
#include "base/text.hpp"
#include "base/thread_pool.hpp"
#include "edge/access.hpp"
#include "edge/api/http/errors.hpp"
#include "edge/health.hpp"
#include "edge/loading_pace.hpp"
#include "edge/metrics.hpp"
#include "edge/serve.hpp"
#include "engine/runtime/generator.hpp"
#include "net/request.hpp"
#include "net/response.hpp"
#include "net/router.hpp"
#include "service/auth/key_ring.hpp"
#include "service/dialogue/dialogue.hpp"
#include "service/store/store.hpp"

namespace deepwell::edge {

/// Owned by serve(); outlives the server and every request.
struct Api {
  const ServeOptions& options;
  engine::Generator& generator;  // not touched before is_ready
  const service::KeyRing& keys;
  const AccessRules& access;
  Metrics& metrics;
  service::Store& store;
  ThreadPool& pool;
  Log& log;

  // There when is_ready; until then the middleware lets nobody in who needs them.
  std::unique_ptr<service::Dialogue> dialogue = nullptr;
  std::unique_ptr<HealthWatch> health = nullptr;
  std::vector<std::string> model_names = {};  // accepted in requests; the first is shown
  std::int64_t created_unix_s = 0;            // when the model was loaded, for /v1/models
  std::atomic<bool> is_ready = false;
  LoadingPace loading = {};  // until then

  std::atomic<bool> is_draining = false;      // new work is refused
  std::atomic<bool> is_handing_over = false;  // what still comes is served, another server is new
  std::atomic<int> n_inference = 0;           // requests inside, of endpoints that generate

  bool serves_model(std::string_view name) const;
  Health health_now();
  /// How far loading is; ready when there is nothing to ask.
  Readiness readiness() const;
};

/// Given to each request by the first middleware.
struct RequestInfo {
  std::string id;  // X-Request-Id
  Language language = Language::kEnglish;
};

/// One address of the API. `handle` answers; errors go through send_error().
struct Endpoint {
  std::string_view name;  // label in metrics, for example "chat_completions"
  std::string_view method;
  std::string_view path;
  std::optional<service::Scope> scope;  // none: open to everybody, also without a key
  Task<void> (*handle)(Api& api, net::Request& request, net::ResponseWriter& writer);
};

/// Sends a whole answer. Name `response`, then move it. A client that left is nobody's error.
Task<void> send(net::ResponseWriter& writer, net::Response response);

/// kNotFound with what to use instead.
Error unknown_model(const Api& api, const std::string& name);

/// Every endpoint: one line each.
std::span<const Endpoint* const> endpoints();

/// A router with all endpoints and the middleware list.
net::Router make_router(Api& api);

/// Answers with the error's status and envelope. Name `error`, then move it (see base/task.hpp).
Task<void> send_error(net::Request& request, net::ResponseWriter& writer, Error error,
                      ErrorDetails details = {});
/// As above; an overload is told with the place in the queue and when to come back.
Task<void> send_error(const Api& api, net::Request& request, net::ResponseWriter& writer,
                      Error error);

/// Headers that some statuses must carry: Retry-After with 429 and 503, WWW-Authenticate with 401.
net::Response error_response(const Error& error, Language language,
                             const ErrorDetails& details = {});

/// How much longer loading takes, for Retry-After.
std::chrono::seconds retry_after(const Readiness& readiness);

}  // namespace deepwell::edge
