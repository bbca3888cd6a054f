// Tests of the whole server over real sockets: answers, streams and refusals.
#include "edge/serve.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/concat.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"
#include "edge/api/http/api.hpp"
#include "edge/testing/served_synthetic.hpp"
#include "edge/testing/streamed.hpp"

namespace deepwell::edge::testing {
namespace {

using namespace std::chrono_literals;
using cluster::SyntheticOptions;
using nlohmann::json;

SyntheticOptions thinking(std::string text) {
  SyntheticOptions options = saying(std::move(text));
  options.chat_template = cluster::byte_chat_template(true);
  return options;
}

ServeOptions with_key() {
  ServeOptions options;
  options.keys.api_key = "sk-right";
  return options;
}

TEST(Serve, AnswersAsOneDocument) {
  const ServedSynthetic server(saying("Hello 世界"));
  const Reply reply = server.chat(R"(,"seed":7)");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "synthetic");
  EXPECT_EQ(body["system_fingerprint"], "synthetic-2");
  EXPECT_EQ(body["seed"], 7);
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Hello 世界");
  EXPECT_FALSE(body["choices"][0]["message"].contains("reasoning_content"));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
  EXPECT_EQ(body["usage"]["total_tokens"], body["usage"]["prompt_tokens"].get<int>() + 12);
}

TEST(Serve, StreamsTheSameAnswer) {
  const ServedSynthetic server(saying("Hello 世界"));
  const Reply reply = server.chat(R"(,"stream":true,"stream_options":{"include_usage":true})");
  ASSERT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.is_whole);
  EXPECT_TRUE(reply.headers.at("content-type").starts_with("text/event-stream"));
  EXPECT_EQ(reply.headers.at("x-accel-buffering"), "no");
  EXPECT_TRUE(reply.headers.at("cache-control").starts_with("no-"));
  const Streamed streamed = read_stream(reply);
  EXPECT_EQ(streamed.content, "Hello 世界");
  EXPECT_EQ(streamed.finish, "stop");
  EXPECT_EQ(streamed.n_completion_tok, 12);
  EXPECT_TRUE(streamed.is_done);
}

TEST(Serve, SaysInWhichTierItAnswered) {
  const ServedSynthetic server(saying("x"));
  for (const auto& [asked, given] :
       std::vector<std::pair<std::string, std::string>>{{"auto", "default"},
                                                        {"default", "default"},
                                                        {"flex", "flex"},
                                                        {"priority", "priority"}}) {
    const std::string field = concat(R"(,"service_tier":")", asked, "\"");
    EXPECT_EQ(json::parse(server.chat(field).body)["service_tier"], given);
    const Reply stream = server.chat(concat(field, R"(,"stream":true)"));
    EXPECT_NE(stream.body.find(concat(R"("service_tier":")", given, "\"")), std::string::npos);
  }
  EXPECT_FALSE(json::parse(server.chat().body).contains("service_tier"));
  EXPECT_FALSE(json::parse(server.chat(R"(,"priority":1)").body).contains("service_tier"));
  const Reply refused = server.chat(R"(,"service_tier":"scale")");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(json::parse(refused.body)["error"]["param"], "service_tier");
}

TEST(Serve, SendsNoUsageChunkUnlessAsked) {
  const ServedSynthetic server(saying("x"));
  const Streamed streamed = read_stream(server.chat(R"(,"stream":true)"));
  EXPECT_FALSE(streamed.n_completion_tok);
  EXPECT_TRUE(streamed.is_done);
}

TEST(Serve, SplitsThoughtFromAnswer) {
  const ServedSynthetic server(thinking("hm, 想</think>\n\n42"));
  const json body = json::parse(server.chat().body);
  EXPECT_EQ(body["choices"][0]["message"]["reasoning_content"], "hm, 想");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "42");
  EXPECT_GT(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 6);
  const Streamed streamed = read_stream(server.chat(R"(,"stream":true)"));
  EXPECT_EQ(streamed.reasoning, "hm, 想");
  EXPECT_EQ(streamed.content, "42");
}

TEST(Serve, SaysLengthWhenTheLimitEndsTheAnswer) {
  const ServedSynthetic server;
  const json body = json::parse(server.chat(R"(,"max_tokens":5)").body);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["choices"][0]["message"]["content"].get<std::string>().size(), 5U);
}

TEST(Serve, GivesSeveralChoicesWithSeedsOfTheirOwn) {
  const ServedSynthetic server;
  const json body = json::parse(server.chat(R"(,"max_tokens":8,"n":3,"seed":5)").body);
  ASSERT_EQ(body["choices"].size(), 3U);
  std::set<std::string> contents;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    contents.insert(body["choices"][i]["message"]["content"]);
  }
  EXPECT_EQ(contents.size(), 3U);
  const json second = json::parse(server.chat(R"(,"max_tokens":8,"seed":6)").body);
  EXPECT_EQ(second["choices"][0]["message"]["content"], body["choices"][1]["message"]["content"]);
}

TEST(Serve, RepeatsAnAnswerBySeedAndDrawsOneOtherwise) {
  const ServedSynthetic server;
  const json drawn = json::parse(server.chat(R"(,"max_tokens":16)").body);
  const json again =
      json::parse(server.chat(concat(R"(,"max_tokens":16,"seed":)", drawn["seed"].dump())).body);
  EXPECT_EQ(drawn["choices"][0]["message"]["content"], again["choices"][0]["message"]["content"]);
  const json other = json::parse(server.chat(R"(,"max_tokens":16)").body);
  EXPECT_NE(drawn["seed"], other["seed"]);
}

TEST(Serve, RefusesWithStatusAndReason) {
  ServeOptions options;
  options.max_body_bytes = 2000;
  const ServedSynthetic server(saying("x"), options);
  const std::string path = "/v1/chat/completions";
  const struct {
    std::string request;
    int status;
    const char* code;
  } cases[] = {
      {post_request(path, "{"), 400, "invalid_json"},
      {post_request(path, "{\"messages\":[]}"), 400, "invalid_argument"},
      {post_request(path, chat_body(R"(,"tools":[1])")), 400, "unsupported_parameter"},
      {post_request(path, chat_body(R"(,"logit_bias":{"9999":1})")), 400, "invalid_argument"},
      {post_request(path, R"({"model":"gpt-9","messages":[{"role":"user","content":"hi"}]})"), 404,
       "model_not_found"},
      {post_request(path, std::string(3000, ' ')), 413, "request_too_large"},
      {get_request("/nowhere"), 404, "unknown_url"},
      {get_request(path), 405, "method_not_allowed"},
      {get_request("/v1/models/gpt-9"), 404, "model_not_found"},
      {concat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"), 415,
       "unsupported_media_type"},
      {concat("POST ", path,
              " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: "
              "2\r\n\r\n{}"),
       415, "unsupported_media_type"},
      {"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host_not_allowed"},
      {get_request("/v1/models", "Origin: https://evil.example\r\n"), 403, "origin_not_allowed"},
  };
  for (const auto& expected : cases) {
    const Reply reply = server.send(expected.request);
    EXPECT_EQ(reply.status, expected.status) << expected.request;
    const json error = json::parse(reply.body)["error"];
    EXPECT_EQ(error["code"], expected.code) << reply.body;
    EXPECT_FALSE(error["message"].get<std::string>().empty());
    EXPECT_TRUE(reply.headers.contains("x-request-id")) << reply.body;
  }
}

TEST(Serve, NamesBothNumbersWhenThePromptIsTooLong) {
  SyntheticOptions synthetic = saying("x");
  synthetic.n_ctx_tok = 64;
  const ServedSynthetic server(std::move(synthetic));
  const std::string body =
      concat(R"({"messages":[{"role":"user","content":")", std::string(200, 'a'), R"("}]})");
  const Reply reply = server.send(post_request("/v1/chat/completions", body));
  EXPECT_EQ(reply.status, 400);
  const json error = json::parse(reply.body)["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["param"], "messages");
  const std::string message = error["message"];
  EXPECT_NE(message.find("203"), std::string::npos) << message;
  EXPECT_NE(message.find("64"), std::string::npos) << message;
}

TEST(Serve, SpeaksChineseToThoseWhoPreferIt) {
  const ServedSynthetic server(saying("x"));
  const Reply reply = server.send(
      post_request("/v1/chat/completions", "{", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n"));
  EXPECT_NE(json::parse(reply.body)["error"]["message"].get<std::string>().find("不是有效的 JSON"),
            std::string::npos);
}

TEST(Serve, AsksForAKeyWhereOneIsSet) {
  const ServedSynthetic server(saying("x"), with_key());
  const Reply none = server.chat();
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(json::parse(none.body)["error"]["code"], "invalid_api_key");
  const auto post_with = [&](const char* header) {
    return server.send(post_request("/v1/chat/completions", chat_body(), header)).status;
  };
  EXPECT_EQ(post_with("Authorization: Bearer sk-wrong\r\n"), 401);
  EXPECT_EQ(post_with("Authorization: Basic sk-right\r\n"), 401);
  EXPECT_EQ(post_with("Authorization: bearer sk-right\r\n"), 200);
  EXPECT_EQ(post_with("X-Api-Key: sk-right\r\n"), 200);
}

// The contract of every endpoint: those with a scope are shut without a key, the others are open;
// names are unique.
TEST(EndpointContract, IsShutWithoutAKeyUnlessPublic) {
  const ServedSynthetic server(saying("x"), with_key());
  std::set<std::string_view> names;
  for (const Endpoint* endpoint : endpoints()) {
    EXPECT_TRUE(names.insert(endpoint->name).second) << endpoint->name;
    std::string path(endpoint->path);
    if (const auto brace = path.find('{'); brace != std::string::npos)
      path = path.substr(0, brace) + "synthetic";
    const auto request = [&](std::string_view headers) {
      if (endpoint->method == "POST") return post_request(path, chat_body(), headers);
      std::string get = get_request(path, headers);
      return get.replace(0, 3, endpoint->method);
    };
    EXPECT_EQ(server.send(request("")).status, endpoint->scope ? 401 : 200) << path;
    const int expected = path.starts_with("/v1/streams/") ? 404 : 200;  // there is no such answer
    EXPECT_EQ(server.send(request("X-Api-Key: sk-right\r\n")).status, expected) << path;
  }
}

TEST(Serve, ListsModelsByEveryNameThatItAccepts) {
  ServeOptions options;
  options.model_names = {"gpt-4o-mini", "org/model"};
  const ServedSynthetic server(saying("x"), options);
  const json list = json::parse(server.send(get_request("/v1/models")).body);
  ASSERT_EQ(list["data"].size(), 3U);
  EXPECT_EQ(list["data"][0]["id"], "gpt-4o-mini");
  EXPECT_EQ(server.send(get_request("/v1/models/org/model")).status, 200);
  const Reply reply = server.send(
      post_request("/v1/chat/completions",
                   R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]})"));
  EXPECT_EQ(json::parse(reply.body)["model"], "gpt-4o-mini");
}

TEST(Serve, KeepsAUsableRequestIdAndReplacesAnOddOne) {
  const ServedSynthetic server(saying("x"));
  EXPECT_EQ(
      server.send(get_request("/livez", "X-Request-Id: abc-1\r\n")).headers.at("x-request-id"),
      "abc-1");
  EXPECT_NE(server.send(get_request("/livez", "X-Request-Id: a b<script>\r\n"))
                .headers.at("x-request-id"),
            "a b<script>");
}

TEST(Serve, AnswersPreflightsOfAllowedOriginsOnly) {
  ServeOptions options = with_key();
  options.allowed_origins = {"https://chat.example"};
  const ServedSynthetic server(saying("x"), options);
  const auto preflight = [&](const char* origin) {
    return server.send(
        concat("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: ", origin,
               "\r\nAccess-Control-Request-Method: POST\r\n\r\n"));
  };
  const Reply allowed = preflight("https://chat.example");
  EXPECT_EQ(allowed.status, 204);
  EXPECT_EQ(allowed.headers.at("access-control-allow-origin"), "https://chat.example");
  const Reply denied = preflight("https://evil.example");
  EXPECT_EQ(denied.status, 403);
  EXPECT_FALSE(denied.headers.contains("access-control-allow-origin"));
}

TEST(Serve, CountsTokensByKeyNameInMetrics) {
  const ServedSynthetic server(saying("12345", 5ms), with_key());
  server.send(post_request("/v1/chat/completions", chat_body(), "X-Api-Key: sk-right\r\n"));
  const auto page = [&] {
    return server.send(get_request("/metrics", "X-Api-Key: sk-right\r\n")).body;
  };
  EXPECT_TRUE(eventually([&] {
    return page().find(
               R"(deepwell:generation_tokens_total{key="default",model_name="synthetic"} 5)") !=
           std::string::npos;
  })) << page();
  EXPECT_NE(page().find(R"(deepwell:time_to_first_token_seconds_count{model_name="synthetic"} 1)"),
            std::string::npos);
  EXPECT_EQ(page().find(R"(deepwell:inter_token_latency_seconds_count{model_name="synthetic"} 0)"),
            std::string::npos);
}

TEST(CheckServeOptions, RefusesTheNetworkWithoutAKey) {
  ServeOptions options;
  EXPECT_TRUE(check_serve_options(options, null_log()));
  options.host = "0.0.0.0";
  const auto refused = check_serve_options(options, null_log());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("--api-key"), std::string::npos);
  options.use_insecure_no_auth = true;
  EXPECT_TRUE(check_serve_options(options, null_log()));
  options.use_insecure_no_auth = false;
  options.keys.api_key = "k";
  EXPECT_TRUE(check_serve_options(options, null_log()));
}

TEST(Serve, SaysWhereItListensAndWhatToTry) {
  const ServedSynthetic open(saying("x"));
  EXPECT_EQ(open.listening().api_base, concat("http://127.0.0.1:", open.port(), "/v1"));
  EXPECT_NE(open.listening().openness.find("this machine only"), std::string::npos);
  EXPECT_EQ(open.listening().first_curl.find("Authorization"), std::string::npos);
  const ServedSynthetic keyed(saying("x"), with_key());
  EXPECT_NE(keyed.listening().first_curl.find("$DEEPWELL_API_KEY"), std::string::npos);
  EXPECT_EQ(keyed.listening().first_curl.find("sk-right"), std::string::npos);
  const Reply page = open.send(get_request("/"));
  EXPECT_NE(page.body.find("/v1/chat/completions"), std::string::npos);
  EXPECT_NE(page.body.find("正在运行"), std::string::npos);
}

}  // namespace
}  // namespace deepwell::edge::testing
