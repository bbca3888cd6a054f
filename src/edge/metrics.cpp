// The families of metrics, over prometheus-cpp.
#include "edge/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <sstream>

namespace deepwell::edge {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;

const Histogram::BucketBoundaries kFirstTokenSeconds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,  2.5,
                                                        5,    10,    20,   40,  80,   160, 640};
const Histogram::BucketBoundaries kInterTokenSeconds = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5};
const Histogram::BucketBoundaries kRequestSeconds = {0.005, 0.05, 0.25, 1,   2.5, 5,
                                                     10,    30,   60,   300, 1800};

}  // namespace

struct Metrics::State {
  using Counters = prometheus::Family<prometheus::Counter>;

  Counters& counters(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry);
  }
  prometheus::Gauge& gauge(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add({{"model_name", model_name}});
  }
  Histogram& histogram(const char* name, const char* help,
                       const Histogram::BucketBoundaries& bounds) {
    return BuildHistogram().Name(name).Help(help).Register(registry).Add(
        {{"model_name", model_name}}, bounds);
  }
  prometheus::Counter& by_key(Counters& family, std::string_view key_name) const {
    return family.Add({{"model_name", model_name}, {"key", std::string(key_name)}});
  }

  explicit State(std::string name) : model_name(std::move(name)) {}

  std::string model_name;
  prometheus::Registry registry;
  Counters& requests = counters("deepwell:http_requests_total", "Answered requests");
  Histogram& request_seconds =
      histogram("deepwell:http_request_duration_seconds",
                "From the header to the end of the answer", kRequestSeconds);
  Counters& clients_left =
      counters("deepwell:client_disconnects_total", "Generations whose client left before the end");
  Counters& prompt_tokens = counters("deepwell:prompt_tokens_total", "Prompt tokens");
  Counters& cached_tokens =
      counters("deepwell:prompt_tokens_cached_total", "Prompt tokens that needed no computing");
  Counters& generated_tokens =
      counters("deepwell:generation_tokens_total", "Generated tokens, reasoning included");
  Counters& reasoning_tokens =
      counters("deepwell:reasoning_tokens_total", "Generated tokens that were reasoning");
  Histogram& first_token = histogram("deepwell:time_to_first_token_seconds",
                                     "From the request to its first token", kFirstTokenSeconds);
  Histogram& inter_token = histogram("deepwell:inter_token_latency_seconds",
                                     "Between two tokens of one answer", kInterTokenSeconds);
  prometheus::Gauge& n_running = gauge("deepwell:num_requests_running", "Generations in the batch");
  prometheus::Gauge& n_waiting = gauge("deepwell:num_requests_waiting", "Generations in the queue");
  prometheus::Gauge& n_blocks_used = gauge("deepwell:kv_blocks_used", "KV cache blocks in use");
  prometheus::Gauge& n_blocks = gauge("deepwell:kv_blocks", "KV cache blocks");
  prometheus::Gauge& n_steps = gauge("deepwell:engine_steps", "Steps that the engine has done");
  prometheus::Gauge& step_age = gauge("deepwell:engine_last_step_age_seconds",
                                      "Since the last step ended, while something runs");
};

Metrics::Metrics(std::string model_name) : state_(std::make_unique<State>(std::move(model_name))) {}
Metrics::~Metrics() = default;

void Metrics::count_request(std::string_view endpoint, int status, std::string_view key_name,
                            double seconds) {
  state_->requests
      .Add({{"endpoint", std::string(endpoint)},
            {"status", std::to_string(status)},
            {"key", std::string(key_name)}})
      .Increment();
  state_->request_seconds.Observe(seconds);
}

void Metrics::count_tokens(std::string_view key_name, std::uint64_t n_prompt,
                           std::uint64_t n_cached, std::uint64_t n_generated,
                           std::uint64_t n_reasoning) {
  const auto add = [&](State::Counters& family, std::uint64_t n) {
    state_->by_key(family, key_name).Increment(static_cast<double>(n));
  };
  add(state_->prompt_tokens, n_prompt);
  add(state_->cached_tokens, n_cached);
  add(state_->generated_tokens, n_generated);
  add(state_->reasoning_tokens, n_reasoning);
}

void Metrics::observe_time_to_first_token(double seconds) { state_->first_token.Observe(seconds); }
void Metrics::observe_inter_token(double seconds) { state_->inter_token.Observe(seconds); }
void Metrics::count_client_left() {
  state_->clients_left.Add({{"model_name", state_->model_name}}).Increment();
}

std::string Metrics::render(const engine::GeneratorStatus& status) const {
  state_->n_running.Set(status.n_running);
  state_->n_waiting.Set(status.n_waiting);
  state_->n_blocks_used.Set(status.n_kv_blocks_used);
  state_->n_blocks.Set(status.n_kv_blocks);
  state_->n_steps.Set(static_cast<double>(status.n_steps));
  const double age_s = static_cast<double>(status.last_step_age_ms) / 1000.0;
  state_->step_age.Set(status.n_running > 0 ? age_s : 0.0);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, state_->registry.Collect());
  return out.str();
}

}  // namespace deepwell::edge
