// Tests of what /metrics says.
#include "edge/metrics.hpp"

#include <gtest/gtest.h>

namespace deepwell::edge {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, CountsTokensByKeyName) {
  Metrics metrics("m");
  metrics.count_tokens("alice", 10, 4, 7, 3);
  metrics.count_tokens("alice", 1, 0, 1, 0);
  metrics.count_tokens("bob", 5, 0, 2, 0);
  const std::string text = metrics.render({});
  EXPECT_TRUE(has_line(text, R"(deepwell:prompt_tokens_total{key="alice",model_name="m"} 11)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:generation_tokens_total{key="alice",model_name="m"} 8)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:reasoning_tokens_total{key="alice",model_name="m"} 3)"))
      << text;
  EXPECT_TRUE(
      has_line(text, R"(deepwell:prompt_tokens_cached_total{key="alice",model_name="m"} 4)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:generation_tokens_total{key="bob",model_name="m"} 2)"))
      << text;
}

TEST(Metrics, CountsRequestsByEndpointStatusAndKey) {
  Metrics metrics("m");
  metrics.count_request("models", 200, "alice", 0.01);
  metrics.count_request("models", 200, "alice", 0.01);
  metrics.count_request("models", 401, "-", 0.01);
  const std::string text = metrics.render({});
  EXPECT_TRUE(has_line(
      text, R"(deepwell:http_requests_total{endpoint="models",key="alice",status="200"} 2)"))
      << text;
  EXPECT_TRUE(
      has_line(text, R"(deepwell:http_requests_total{endpoint="models",key="-",status="401"} 1)"))
      << text;
}

TEST(Metrics, ShowsLatenciesAndTheEnginesState) {
  Metrics metrics("m");
  metrics.observe_time_to_first_token(0.2);
  metrics.observe_inter_token(0.02);
  metrics.observe_inter_token(0.02);
  ServiceGauges gauges;
  engine::GeneratorStatus& status = gauges.generator;
  status.n_running = 3;
  status.n_waiting = 2;
  status.n_kv_blocks = 100;
  status.n_kv_blocks_used = 42;
  status.n_preempted = 3;
  status.n_draft_tok = 20;
  status.n_right_draft_tok = 15;
  status.n_blocks_loaded = 7;
  status.kv_disk_bytes = 9000;
  const std::string text = metrics.render(gauges);
  EXPECT_TRUE(has_line(text, R"(deepwell:time_to_first_token_seconds_count{model_name="m"} 1)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:inter_token_latency_seconds_count{model_name="m"} 2)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:num_requests_running{model_name="m"} 3)")) << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:num_requests_waiting{model_name="m"} 2)")) << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:kv_blocks_used{model_name="m"} 42)")) << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:num_preemptions_total{model_name="m"} 3)")) << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:spec_decode_num_draft_tokens_total{model_name="m"} 20)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:kv_disk_blocks_loaded_total{model_name="m"} 7)")) << text;
  EXPECT_TRUE(has_line(text, R"(deepwell:kv_disk_bytes{model_name="m"} 9000)")) << text;
  EXPECT_TRUE(
      has_line(text, R"(deepwell:spec_decode_num_accepted_tokens_total{model_name="m"} 15)"))
      << text;
}

}  // namespace
}  // namespace deepwell::edge
