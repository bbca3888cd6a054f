// Start-up checks, the life of the server, and leaving in good order.
#include "edge/serve.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "edge/api/http/api.hpp"
#include "net/server.hpp"

namespace deepwell::edge {

namespace {

using Clock = std::chrono::steady_clock;
// How often stop requests and the engine's health are looked at.
constexpr std::chrono::milliseconds kTick{200};

std::vector<std::string> model_names_of(const ServeOptions& options, const std::string& own_name) {
  std::vector<std::string> names = options.model_names;
  if (std::find(names.begin(), names.end(), own_name) == names.end()) names.push_back(own_name);
  return names;
}

net::ServerOptions server_options(const ServeOptions& options) {
  net::ServerOptions server;
  server.host = options.host;
  server.port = options.port;
  server.listen_fd = options.listen_fd;
  server.n_loops = options.n_loops;
  server.max_body_bytes = options.max_body_bytes;
  server.body_timeout = options.body_timeout;
  if (!options.tls_cert_file.empty()) {
    server.tls =
        net::TlsOptions{.cert_file = options.tls_cert_file, .key_file = options.tls_key_file};
  }
  return server;
}

std::string openness(const ServeOptions& options, const service::KeyRing& keys) {
  const std::string reach = is_loopback_host(options.host)
                                ? "reachable from this machine only"
                                : concat("open to the network on ", options.host);
  return concat(reach, keys.is_open() ? ", no API key asked for" : ", API key required");
}

Listening describe(const ServeOptions& options, const Api& api, const net::Server& server) {
  Listening listening;
  listening.url = server.url();
  // An address that means "all" cannot be called; this machine's own can.
  const bool is_any = options.host == "0.0.0.0" || options.host == "::";
  const std::string scheme = options.tls_cert_file.empty() ? "http" : "https";
  const std::string reachable =
      is_any ? concat(scheme, "://127.0.0.1:", server.port()) : listening.url;
  listening.api_base = reachable + "/v1";
  listening.first_curl =
      concat("curl ", listening.api_base, "/chat/completions -H 'Content-Type: application/json' ",
             api.keys.is_open() ? "" : "-H \"Authorization: Bearer $DEEPWELL_API_KEY\" ",
             "-d '{\"model\":\"", api.model_names.front(),
             "\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'");
  listening.openness = openness(options, api.keys);
  return listening;
}

// Until the last answer is out, or nobody wants to wait any longer. True: leave in good order.
bool run_until_stopped(const ServeOptions& options, Api& api, Log& log) {
  Clock::time_point drain_until{};
  bool was_stalled = false;
  for (;;) {
    switch (options.wait_stop(kTick)) {
      case StopRequest::kNow:
        return false;
      case StopRequest::kDrain:
      case StopRequest::kHandOver:
        if (!api.is_draining.exchange(true)) {
          drain_until = Clock::now() + options.drain_timeout;
          log.info("stopping: waiting for ", api.n_inference.load(),
                   " running answers, refusing new ones");
        }
        break;
      case StopRequest::kNone:
        break;
    }
    const bool is_stalled = api.health.is_stalled();
    if (is_stalled && !was_stalled) {
      log.error("the engine has work and makes no progress since ", options.stall_limit.count(),
                " ms: not ready");
    }
    was_stalled = is_stalled;
    if (!api.is_draining.load()) continue;
    if (api.n_inference.load() == 0) return true;
    if (Clock::now() >= drain_until) {
      log.warn("leaving with ", api.n_inference.load(), " answers unfinished after ",
               options.drain_timeout.count(), " s");
      return false;
    }
  }
}

}  // namespace

Result<service::KeyRing> check_serve_options(const ServeOptions& options, Log& log) {
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return invalid_argument(
        "TLS needs both a certificate and a key: give --tls-cert and --tls-key");
  }
  DW_ASSIGN(auto keys, service::KeyRing::open(options.keys, log));
  if (keys.is_open() && !is_loopback_host(options.host) && !options.use_insecure_no_auth) {
    return Error{
        .code = Code::kFailedPrecondition,
        .message =
            concat("not serving on '", options.host,
                   "' without an API key, because everybody who "
                   "reaches it could use it: give --api-key or --api-key-file, bind to 127.0.0.1, "
                   "or say --insecure-no-auth")};
  }
  return keys;
}

Status serve(const ServeOptions& options, engine::Generator& generator, Log& log) {
  DW_CHECK(options.wait_stop != nullptr, "serve() needs wait_stop");
  DW_ASSIGN(const service::KeyRing keys, check_serve_options(options, log));
  ThreadPool pool(options.n_pool_threads);
  DW_ASSIGN(const auto dialogue, service::Dialogue::create(generator, pool, log));
  const AccessRules access({.bound_host = options.host,
                            .allowed_hosts = options.allowed_hosts,
                            .allowed_origins = options.allowed_origins});
  auto model_names = model_names_of(options, generator.describe().name);
  Metrics metrics(model_names.front());
  HealthWatch health(generator, options.stall_limit);
  Api api{.options = options,
          .generator = generator,
          .dialogue = *dialogue,
          .keys = keys,
          .access = access,
          .metrics = metrics,
          .health = health,
          .pool = pool,
          .log = log,
          .model_names = std::move(model_names),
          .created_unix_s = wall_clock_s()};

  // Last, so that it goes first: its destructor waits for every handler.
  DW_ASSIGN(const auto server, net::Server::start(server_options(options), make_router(api), log));
  const Listening listening = describe(options, api, *server);
  if (options.on_listening) options.on_listening(listening);

  if (run_until_stopped(options, api, log)) {
    server->stop_accepting();
    constexpr std::chrono::milliseconds kLastBytes{2000};
    static_cast<void>(
        server->drain(kLastBytes));  // requests without an answer to lose, such as health checks
  }
  server->stop_now();
  return {};
}

}  // namespace deepwell::edge
