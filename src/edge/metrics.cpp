// The families of metrics, over prometheus-cpp.
#include "edge/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
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

const Histogram::BucketBoundaries kCommitSeconds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                                    0.01,   0.025,   0.05,   0.1,   0.5,    1};

}  // namespace

// What carries the model's name.
struct Metrics::Model {
  using Counters = prometheus::Family<prometheus::Counter>;

  Model(prometheus::Registry& in, std::string model_name)
      : registry(in), name(std::move(model_name)) {}

  Counters& counters(const char* family, const char* help) {
    return BuildCounter().Name(family).Help(help).Register(registry);
  }
  prometheus::Counter& counter(const char* family, const char* help) {
    return counters(family, help).Add({{"model_name", name}});
  }
  prometheus::Gauge& gauge(const char* family, const char* help) {
    return BuildGauge().Name(family).Help(help).Register(registry).Add({{"model_name", name}});
  }
  Histogram& histogram(const char* family, const char* help,
                       const Histogram::BucketBoundaries& bounds) {
    return BuildHistogram().Name(family).Help(help).Register(registry).Add({{"model_name", name}},
                                                                           bounds);
  }
  prometheus::Counter& by_key(Counters& family, std::string_view key_name) const {
    return family.Add({{"model_name", name}, {"key", std::string(key_name)}});
  }

  prometheus::Registry& registry;
  const std::string name;
  Histogram& request_seconds =
      histogram("deepwell:http_request_duration_seconds",
                "From the header to the end of the answer", kRequestSeconds);
  prometheus::Counter& clients_left =
      counter("deepwell:client_disconnects_total", "Readers that left before the end");
  prometheus::Counter& resume_mismatches = counter(
      "deepwell:resume_mismatches_total", "Answers that moved and did not come out the same");
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
  prometheus::Gauge& n_live = gauge("deepwell:answers_live", "Answers that have not ended");
  prometheus::Gauge& n_readers = gauge("deepwell:answer_readers", "Connections that read answers");
  // Counted elsewhere, and only ever growing.
  prometheus::Gauge& n_attached =
      gauge("deepwell:stream_attaches_total", "Readers that came through /v1/streams");
  prometheus::Gauge& n_taken_over = gauge("deepwell:answers_taken_over_total",
                                          "Unfinished answers of other servers that went on");
  prometheus::Gauge& n_abandoned =
      gauge("deepwell:answers_abandoned_total", "Answers stopped because nobody wanted them");
  prometheus::Gauge& n_preempted = gauge("deepwell:num_preemptions_total",
                                         "Running generations that had to wait again for memory");
  prometheus::Gauge& n_draft =
      gauge("deepwell:spec_decode_num_draft_tokens_total", "Tokens that were guessed ahead");
  prometheus::Gauge& n_right_draft = gauge("deepwell:spec_decode_num_accepted_tokens_total",
                                           "Guessed tokens that were the chosen ones");
  prometheus::Gauge& n_blocks_saved =
      gauge("deepwell:kv_disk_blocks_saved_total", "KV cache blocks written to disk");
  prometheus::Gauge& n_blocks_loaded = gauge("deepwell:kv_disk_blocks_loaded_total",
                                             "KV cache blocks read from disk and not computed");
  prometheus::Gauge& n_blocks_refused =
      gauge("deepwell:kv_disk_blocks_refused_total", "KV cache blocks on disk that were damaged");
  prometheus::Gauge& kv_disk_bytes =
      gauge("deepwell:kv_disk_bytes", "Disk that KV cache blocks take");
  prometheus::Gauge& n_turns_prepared =
      gauge("deepwell:turn_cache_prepared_total", "Next turns whose beginning was computed");
  prometheus::Gauge& n_turns_interrupted =
      gauge("deepwell:turn_cache_interrupted_total", "Times that this gave way to real work");
  prometheus::Gauge& n_lost =
      gauge("deepwell:workers_lost_total", "Workers that died or were cut off");
  prometheus::Gauge& n_suspected =
      gauge("deepwell:workers_suspected_total", "Times that a worker was silent for too long");
  prometheus::Gauge& n_slow =
      gauge("deepwell:workers_slow_total", "Times that a worker was slow beside its peers");
  prometheus::Gauge& n_resumed =
      gauge("deepwell:generations_resumed_total", "Generations that went on elsewhere");
  prometheus::Gauge& n_hedged = gauge("deepwell:generations_hedged_total",
                                      "Generations that were computed twice for a while");
  prometheus::Gauge& n_refused = gauge("deepwell:generations_refused_total",
                                       "Generations that a full or leaving worker refused");
  prometheus::Gauge& n_retried =
      gauge("deepwell:generations_retried_total", "Refused generations that were tried elsewhere");
  prometheus::Gauge& n_failed =
      gauge("deepwell:generations_failed_total", "Generations that could not go on");

  void set(const BalanceReport& report) {
    n_lost.Set(static_cast<double>(report.n_lost));
    n_suspected.Set(static_cast<double>(report.n_suspected));
    n_slow.Set(static_cast<double>(report.n_slow));
    n_resumed.Set(static_cast<double>(report.n_resumed));
    n_hedged.Set(static_cast<double>(report.n_hedged));
    n_refused.Set(static_cast<double>(report.n_refused));
    n_retried.Set(static_cast<double>(report.n_retried));
    n_failed.Set(static_cast<double>(report.n_failed));
  }
};

struct Metrics::State {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& requests = BuildCounter()
                                                          .Name("deepwell:http_requests_total")
                                                          .Help("Answered requests")
                                                          .Register(registry);
  Histogram& journal_commit = BuildHistogram()
                                  .Name("deepwell:journal_commit_seconds")
                                  .Help("From the first record of a group to its commit")
                                  .Register(registry)
                                  .Add({}, kCommitSeconds);
  prometheus::Gauge& is_degraded = BuildGauge()
                                       .Name("deepwell:journal_degraded")
                                       .Help("1 while the journal takes no records")
                                       .Register(registry)
                                       .Add({});
  std::unique_ptr<Model> owned_model;
  std::atomic<Model*> model = nullptr;  // null until its name is known
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::Metrics(std::string model_name) : Metrics() { set_model_name(std::move(model_name)); }
Metrics::~Metrics() = default;

void Metrics::set_model_name(std::string model_name) {
  state_->owned_model = std::make_unique<Model>(state_->registry, std::move(model_name));
  state_->model = state_->owned_model.get();
}

Metrics::Model& Metrics::model() const {
  DW_CHECK(state_->model != nullptr, "metrics of a model that has no name yet");
  return *state_->model;
}

void Metrics::count_request(std::string_view endpoint, int status, std::string_view key_name,
                            double seconds) {
  state_->requests
      .Add({{"endpoint", std::string(endpoint)},
            {"status", std::to_string(status)},
            {"key", std::string(key_name)}})
      .Increment();
  if (state_->model != nullptr) model().request_seconds.Observe(seconds);
}

void Metrics::count_tokens(std::string_view key_name, std::uint64_t n_prompt,
                           std::uint64_t n_cached, std::uint64_t n_generated,
                           std::uint64_t n_reasoning) {
  const auto add = [&](Model::Counters& family, std::uint64_t n) {
    model().by_key(family, key_name).Increment(static_cast<double>(n));
  };
  add(model().prompt_tokens, n_prompt);
  add(model().cached_tokens, n_cached);
  add(model().generated_tokens, n_generated);
  add(model().reasoning_tokens, n_reasoning);
}

void Metrics::observe_time_to_first_token(double seconds) { model().first_token.Observe(seconds); }
void Metrics::observe_inter_token(double seconds) { model().inter_token.Observe(seconds); }
void Metrics::count_client_left() { model().clients_left.Increment(); }
void Metrics::count_resume_mismatch() { model().resume_mismatches.Increment(); }
void Metrics::observe_journal_commit(double seconds) { state_->journal_commit.Observe(seconds); }

std::string Metrics::render(const ServiceGauges& gauges) const {
  if (Model* now = state_->model) {
    const engine::GeneratorStatus& status = gauges.generator;
    now->n_running.Set(status.n_running);
    now->n_waiting.Set(status.n_waiting);
    now->n_blocks_used.Set(status.n_kv_blocks_used);
    now->n_blocks.Set(status.n_kv_blocks);
    now->n_steps.Set(static_cast<double>(status.n_steps));
    now->n_preempted.Set(static_cast<double>(status.n_preempted));
    now->n_draft.Set(static_cast<double>(status.n_draft_tok));
    now->n_right_draft.Set(static_cast<double>(status.n_right_draft_tok));
    now->n_blocks_saved.Set(static_cast<double>(status.n_blocks_saved));
    now->n_blocks_loaded.Set(static_cast<double>(status.n_blocks_loaded));
    now->n_blocks_refused.Set(static_cast<double>(status.n_blocks_refused));
    now->kv_disk_bytes.Set(static_cast<double>(status.kv_disk_bytes));
    const double age_s = static_cast<double>(status.last_step_age_ms) / 1000.0;
    now->step_age.Set(status.n_running > 0 ? age_s : 0.0);
    now->n_live.Set(gauges.dialogue.n_live);
    now->n_readers.Set(gauges.dialogue.n_readers);
    now->n_attached.Set(static_cast<double>(gauges.dialogue.n_attached));
    now->n_taken_over.Set(static_cast<double>(gauges.dialogue.n_taken_over));
    now->n_abandoned.Set(static_cast<double>(gauges.dialogue.n_abandoned));
    now->n_turns_prepared.Set(static_cast<double>(gauges.dialogue.n_turns_prepared));
    now->n_turns_interrupted.Set(static_cast<double>(gauges.dialogue.n_turns_interrupted));
    if (gauges.balance) now->set(*gauges.balance);
  }
  state_->is_degraded.Set(gauges.is_journal_degraded ? 1 : 0);
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, state_->registry.Collect());
  return out.str();
}

}  // namespace deepwell::edge
