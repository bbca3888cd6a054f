// GET /healthz, /health, /readyz, /livez: the truth for load balancers and process managers, without a key.
#include <nlohmann/json.hpp>

#include "edge/api/http/api.hpp"

namespace deepwell::edge {

namespace {

using json = nlohmann::ordered_json;

std::string_view health_word(Health health) {
  switch (health) {
    case Health::kLoading:
      return "loading";
    case Health::kReady:
      return "ok";
    case Health::kDegraded:
      return "degraded";
    case Health::kDraining:
      return "draining";
    case Health::kStalled:
      return "stalled";
    case Health::kNoWorker:
      return "no_worker";
  }
  return "unknown";
}

void add_loading(const Readiness& readiness, json& body) {
  body["progress"] = readiness.progress;
  body["eta_s"] = nullptr;
  if (readiness.eta) body["eta_s"] = *readiness.eta;
  if (!readiness.text.empty()) body["text"] = readiness.text;
}

json workers_json(const std::vector<WorkerReport>& workers) {
  json list = json::array();
  for (const WorkerReport& worker : workers) {
    list.push_back({{"index", worker.index},
                    {"epoch", worker.epoch},
                    {"state", worker.state},
                    {"progress", worker.progress},
                    {"running", worker.n_running},
                    {"waiting", worker.n_waiting},
                    {"last_token_age_ms", worker.last_token_age_ms},
                    {"slow", worker.is_slow}});
  }
  return list;
}

json balance_json(const BalanceReport& report) {
  return {{"workers_lost", report.n_lost}, {"workers_suspected", report.n_suspected},
          {"workers_slow", report.n_slow}, {"resumed", report.n_resumed},
          {"hedged", report.n_hedged},     {"refused", report.n_refused},
          {"retried", report.n_retried},   {"failed", report.n_failed}};
}

void add_depth(const Api& api, json& body) {
  body["workers"] = api.options.workers ? workers_json(api.options.workers()) : json::array();
  const service::StoreHealth journal = api.store.health();
  body["journal"] = {{"degraded", journal.is_degraded}, {"reason", journal.reason}};
  if (!api.is_ready.load()) return;
  const service::DialogueStats dialogue = api.dialogue->stats();
  body["answers"] = {{"live", dialogue.n_live},
                     {"readers", dialogue.n_readers},
                     {"taken_over", dialogue.n_taken_over},
                     {"abandoned", dialogue.n_abandoned}};
  const service::Congestion queue = api.dialogue->congestion();
  body["queue"] = {{"next_position", queue.position}, {"estimated_wait_s", queue.wait.count()}};
  if (api.options.balance) body["balance"] = balance_json(api.options.balance());
}

Task<void> answer(Api& api, const net::Request& request, net::ResponseWriter& writer, Health health,
                  bool is_healthy) {
  json body;
  body["status"] = health_word(health);
  const Readiness readiness = api.readiness();
  if (api.is_ready.load()) {
    const engine::GeneratorStatus status = api.generator.status();
    body["running"] = status.n_running;
    body["waiting"] = status.n_waiting;
  } else {
    add_loading(readiness, body);
  }
  if (health == Health::kDegraded) body["reason"] = api.store.health().reason;
  if (request.query_value("deep").value_or("") == "1") add_depth(api, body);
  std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  net::Response response = net::make_response(is_healthy ? 200 : 503, net::kJson, std::move(text));
  response.headers.set("Cache-Control", "no-store");
  if (!is_healthy) {
    const auto wait = health == Health::kLoading ? retry_after(readiness) : std::chrono::seconds(5);
    response.headers.set("Retry-After", std::to_string(wait.count()));
  }
  co_await send(writer, std::move(response));
}

// Ready: new requests will be answered. A journal that does not work takes no answer from anybody.
Task<void> readyz(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const Health health = api.health_now();
  const bool is_healthy = health == Health::kReady || health == Health::kDegraded;
  co_await answer(api, request, writer, health, is_healthy);
}

// Alive: no reason to kill the process. A server that loads or drains is alive; one whose engine
// stands still is not.
Task<void> livez(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const Health health = api.health_now();
  const bool is_stalled = health != Health::kLoading && api.health->is_stalled();
  co_await answer(api, request, writer, is_stalled ? Health::kStalled : health, !is_stalled);
}

}  // namespace

extern const Endpoint kEndpoint_healthz;
const Endpoint kEndpoint_healthz = {
    .name = "healthz", .method = "GET", .path = "/healthz", .scope = {}, .handle = readyz};

// The name that clients of llama-server and vLLM ask for.
extern const Endpoint kEndpoint_health;
const Endpoint kEndpoint_health = {
    .name = "health", .method = "GET", .path = "/health", .scope = {}, .handle = readyz};

extern const Endpoint kEndpoint_readyz;
const Endpoint kEndpoint_readyz = {
    .name = "readyz", .method = "GET", .path = "/readyz", .scope = {}, .handle = readyz};

extern const Endpoint kEndpoint_livez;
const Endpoint kEndpoint_livez = {
    .name = "livez", .method = "GET", .path = "/livez", .scope = {}, .handle = livez};

}  // namespace deepwell::edge
