// GET /metrics: the text exposition that Prometheus scrapes. With a key where keys are set: it
// names tenants.
#include "edge/api/http/api.hpp"

namespace deepwell::edge {

namespace {

Task<void> handle(Api& api, net::Request&, net::ResponseWriter& writer) {
  ServiceGauges gauges;
  if (api.is_ready.load()) {
    gauges.generator = api.generator.status();
    gauges.dialogue = api.dialogue->stats();
    if (api.options.balance) gauges.balance = api.options.balance();
  }
  gauges.is_journal_degraded = api.store.health().is_degraded;
  std::string text = api.metrics.render(gauges);
  net::Response response =
      net::make_response(200, "text/plain; version=0.0.4; charset=utf-8", std::move(text));
  co_await send(writer, std::move(response));
}

}  // namespace

extern const Endpoint kEndpoint_metrics;
const Endpoint kEndpoint_metrics = {.name = "metrics",
                                    .method = "GET",
                                    .path = "/metrics",
                                    .scope = service::Scope::kMetrics,
                                    .handle = handle};

}  // namespace deepwell::edge
