// GET /healthz, /health, /readyz, /livez: the truth for load balancers and process managers, without a key.
#include <nlohmann/json.hpp>

#include "edge/api/http/api.hpp"

namespace deepwell::edge {

namespace {

std::string_view health_word(Health health) {
  switch (health) {
    case Health::kReady:
      return "ok";
    case Health::kDraining:
      return "draining";
    case Health::kStalled:
      return "stalled";
  }
  return "unknown";
}

Task<void> answer(Api& api, net::ResponseWriter& writer, Health health, bool is_healthy) {
  const engine::GeneratorStatus status = api.generator.status();
  nlohmann::ordered_json body;
  body["status"] = health_word(health);
  body["running"] = status.n_running;
  body["waiting"] = status.n_waiting;
  net::Response response = net::make_response(is_healthy ? 200 : 503, net::kJson, body.dump());
  response.headers.set("Cache-Control", "no-store");
  if (!is_healthy) response.headers.set("Retry-After", "5");
  co_await send(writer, std::move(response));
}

// Ready: new requests will be answered.
Task<void> readyz(Api& api, net::Request&, net::ResponseWriter& writer) {
  const Health health = api.health_now();
  co_await answer(api, writer, health, health == Health::kReady);
}

// Alive: no reason to kill the process. A server that drains is alive; one whose engine stands
// still is not.
Task<void> livez(Api& api, net::Request&, net::ResponseWriter& writer) {
  const Health health = api.health_now();
  const bool is_stalled = api.health.is_stalled();
  co_await answer(api, writer, is_stalled ? Health::kStalled : health, !is_stalled);
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
