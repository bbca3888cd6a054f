// Start-up checks, the life of the server, and leaving in good order.
#include "edge/serve.hpp"

#include <algorithm>
#include <thread>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "edge/api/http/api.hpp"
#include "net/server.hpp"
#include "service/store/sqlite.hpp"

namespace deepwell::edge {

namespace {

using Clock = std::chrono::steady_clock;
// How often stop requests and the engine's health are looked at.
constexpr std::chrono::milliseconds kTick{200};
constexpr std::chrono::milliseconds kLeavingTick{20};
// How often a model that loads is asked whether it is ready.
constexpr std::chrono::milliseconds kLoadingTick{20};
// For bytes that are on their way when the server ends.
constexpr std::chrono::milliseconds kLastBytes{2000};

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
  server.max_connections = options.max_connections;
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

service::SqliteStoreOptions store_options(const ServeOptions& options, Metrics& metrics) {
  service::SqliteStoreOptions store;
  store.path = options.journal.path;
  store.durability = options.journal.durability;
  store.retention = options.journal.retention;
  store.max_bytes = options.journal.max_bytes;
  store.on_commit = [&metrics](double seconds) { metrics.observe_journal_commit(seconds); };
  return store;
}

service::QueueLimits queue_limits(const ServeOptions& options, const service::KeyRing& keys) {
  service::QueueLimits limits;
  limits.n_parallel = options.n_parallel;
  limits.max_waiting = options.max_waiting;
  limits.max_waiting_per_tenant = options.max_waiting_per_tenant;
  if (limits.max_waiting_per_tenant == 0 && keys.n_tenants() > 1) {
    limits.max_waiting_per_tenant = std::max(1U, options.max_waiting / 2);
  }
  return limits;
}

// From now on requests are answered.
Status become_ready(Api& api) {
  const ServeOptions& options = api.options;
  api.model_names = model_names_of(options, api.generator.describe().name);
  api.metrics.set_model_name(api.model_names.front());
  service::DialogueOptions dialogue;
  dialogue.front_id = options.front_id;
  dialogue.dead_fronts = options.dead_fronts;
  dialogue.reattach_grace = options.reattach_grace;
  dialogue.survives_process = !options.journal.path.empty();
  dialogue.queue = queue_limits(options, api.keys);
  dialogue.tenant_weights = api.keys.weights();
  dialogue.use_turn_cache = options.use_turn_cache;
  dialogue.on_end = [&metrics = api.metrics](const service::AnswerSummary& answer) {
    const service::Usage& usage = answer.usage;
    metrics.count_tokens(answer.tenant, usage.n_prompt_tok, usage.n_cached_tok,
                         usage.n_generated_tok, usage.n_reasoning_tok);
    if (answer.is_continued) metrics.count_resume_mismatch();
  };
  DW_ASSIGN(api.dialogue, service::Dialogue::create(api.generator, api.pool, api.store, api.log,
                                                    std::move(dialogue)));
  api.health = std::make_unique<HealthWatch>(api.generator, options.stall_limit);
  api.created_unix_s = wall_clock_s();
  api.is_ready = true;
  return {};
}

// False: somebody asked to stop before.
Result<bool> wait_until_ready(Api& api) {
  const ServeOptions& options = api.options;
  while (options.readiness) {
    const Readiness now = options.readiness();
    if (now.is_ready) break;
    api.loading.note(now.progress);
    if (options.wait_stop(kLoadingTick) != StopRequest::kNone) return false;
  }
  DW_TRY(become_ready(api));
  return true;
}

// The life of a server that is ready.
class Life {
 public:
  Life(Api& api, net::Server& server) : api_(api), server_(server) {}

  // Until the last answer is out, or nobody wants to wait any longer. True: leave in good order.
  bool run() {
    for (;;) {
      const StopRequest request = api_.options.wait_stop(is_leaving_ ? kLeavingTick : kTick);
      if (request == StopRequest::kNow) return false;
      if (request != StopRequest::kNone && !is_leaving_) begin_to_leave(request);
      watch_engine();
      if (!is_leaving_) continue;
      if (is_empty()) return true;
      if (Clock::now() >= leave_at_) {
        api_.log.warn("leaving with ", api_.n_inference.load(), " answers unfinished after ",
                      api_.options.drain_timeout.count(), " s");
        return false;
      }
    }
  }

  // Tells whoever still reads that the stream breaks here, and can be taken up again elsewhere.
  void interrupt() {
    const Error error{.code = Code::kUnavailable,
                      .message =
                          "the server is shutting down: the answer goes on when it is back, "
                          "read GET /v1/streams/{id} with your last event id",
                      .reason = std::string(kReasonShuttingDown)};
    api_.is_draining = true;
    api_.dialogue->interrupt(error);
    const auto until = Clock::now() + kLastBytes;
    while (api_.n_inference.load() > 0 && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  bool is_leaving() const { return is_leaving_; }

 private:
  void begin_to_leave(StopRequest request) {
    is_leaving_ = true;
    leave_at_ = Clock::now() + api_.options.drain_timeout;
    if (request == StopRequest::kHandOver) {
      api_.is_handing_over = true;
      server_.stop_listening();
      api_.log.info("handing over: waiting for ", api_.n_inference.load(), " running answers");
    } else {
      api_.is_draining = true;
      server_.announce_stop();
      api_.log.info("stopping: waiting for ", api_.n_inference.load(),
                    " running answers, refusing new ones");
    }
  }

  // Nothing is lost if the server ends now. Handing over, also no client is left that may be about
  // to send: each learns with its next answer to come elsewhere.
  bool is_empty() const {
    if (api_.n_inference.load() > 0) return false;
    return !api_.is_handing_over.load() || server_.stats().n_connections == 0;
  }

  void watch_engine() {
    const bool is_stalled = api_.health->is_stalled();
    if (is_stalled && !was_stalled_) {
      api_.log.error("the engine has work and makes no progress since ",
                     api_.options.stall_limit.count(), " ms: not ready");
    }
    was_stalled_ = is_stalled;
  }

  Api& api_;
  net::Server& server_;
  bool is_leaving_ = false;
  bool was_stalled_ = false;
  Clock::time_point leave_at_{};
};

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
  Metrics metrics;
  ThreadPool pool(options.n_pool_threads);
  const auto store = service::open_sqlite_store(store_options(options, metrics), log);
  const AccessRules access({.bound_host = options.host,
                            .allowed_hosts = options.allowed_hosts,
                            .allowed_origins = options.allowed_origins});
  Api api{.options = options,
          .generator = generator,
          .keys = keys,
          .access = access,
          .metrics = metrics,
          .store = *store,
          .pool = pool,
          .log = log};

  // Last, so that it goes first: its destructor waits for every handler.
  DW_ASSIGN(const auto server, net::Server::start(server_options(options), make_router(api), log));
  DW_ASSIGN(const bool is_ready, wait_until_ready(api));
  if (!is_ready) return {};
  const Listening listening = describe(options, api, *server);
  if (options.on_listening) options.on_listening(listening);

  Life life(api, *server);
  const bool is_empty = life.run();
  if (life.is_leaving() && options.on_drained) options.on_drained();
  if (is_empty) {
    static_cast<void>(
        server->drain(kLastBytes));  // requests without an answer to lose, such as health checks
  } else {
    life.interrupt();
  }
  server->stop_now();
  return {};
}

}  // namespace deepwell::edge
