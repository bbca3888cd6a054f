// Tests of the decoding of chat completion requests.
#include "edge/api/http/chat_request.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "edge/api/http/errors.hpp"

namespace deepwell::edge {
namespace {

using nlohmann::json;

// A request that is right but for the fields given.
std::string body_with(const std::string& fields) {
  json body = json::parse(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})");
  body.update(json::parse(fields));
  return body.dump();
}

ChatRequest decoded(const std::string& fields) {
  auto request = decode_chat_request(body_with(fields));
  EXPECT_TRUE(request) << fields << ": " << (request ? "" : request.error().message);
  return request ? std::move(*request) : ChatRequest{};
}

Error refused(const std::string& fields) {
  auto request = decode_chat_request(body_with(fields));
  EXPECT_FALSE(request) << fields;
  return request ? Error{} : request.error();
}

TEST(DecodeChatRequest, TakesServiceTiersAsPriorities) {
  const std::vector<std::pair<std::string, engine::Priority>> cases = {
      {R"({"service_tier": "auto"})", engine::Priority::kNormal},
      {R"({"service_tier": "default"})", engine::Priority::kNormal},
      {R"({"service_tier": "flex"})", engine::Priority::kLow},
      {R"({"service_tier": "priority"})", engine::Priority::kHigh},
  };
  for (const auto& [fields, priority] : cases) {
    const ChatRequest request = decoded(fields);
    EXPECT_EQ(request.turn.priority, priority) << fields;
    EXPECT_TRUE(request.use_service_tier) << fields;
  }
  for (const char* fields : {"{}", R"({"service_tier": null})"}) {
    EXPECT_EQ(decoded(fields).turn.priority, engine::Priority::kNormal);
    EXPECT_FALSE(decoded(fields).use_service_tier) << fields;
  }
  for (const char* fields : {R"({"service_tier": "scale"})", R"({"service_tier": "Priority"})",
                             R"({"service_tier": ""})", R"({"service_tier": 1})"}) {
    EXPECT_EQ(refused(fields).field, "service_tier") << fields;
  }
}

TEST(DecodeChatRequest, KeepsTheSignOfVllmsPriority) {
  EXPECT_EQ(decoded(R"({"priority": -7})").turn.priority, engine::Priority::kHigh);
  EXPECT_EQ(decoded(R"({"priority": 0})").turn.priority, engine::Priority::kNormal);
  EXPECT_EQ(decoded(R"({"priority": 1})").turn.priority, engine::Priority::kLow);
  EXPECT_FALSE(decoded(R"({"priority": 1})").use_service_tier);
  EXPECT_EQ(decoded(R"({"priority": 1, "service_tier": "auto"})").turn.priority,
            engine::Priority::kLow);
  EXPECT_EQ(decoded(R"({"priority": 1, "service_tier": "flex"})").turn.priority,
            engine::Priority::kLow);
  for (const char* fields :
       {R"({"priority": 1, "service_tier": "priority"})", R"({"priority": "high"})",
        R"({"priority": 0.5})", R"({"priority": 3000000000})"}) {
    EXPECT_EQ(refused(fields).field, "priority") << fields;
  }
}

TEST(DecodeChatRequest, ReadsEveryFieldThatItHonours) {
  const ChatRequest request = decoded(R"({
    "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 7, "stop": ["a", "b"], "seed": 42, "n": 3,
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "frequency_penalty": -1,
    "presence_penalty": 2, "logit_bias": {"5": -100, "7": 1.5}, "user": "u", "unknown_field": {"x": 1}})");
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(request.is_stream);
  EXPECT_TRUE(request.use_usage_chunk);
  const service::Turn& turn = request.turn;
  EXPECT_EQ(turn.max_tokens, 7U);
  EXPECT_EQ(turn.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(turn.seed, 42U);
  EXPECT_EQ(turn.n_choices, 3U);
  EXPECT_FLOAT_EQ(turn.sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(turn.sampling.top_p, 0.9F);
  EXPECT_EQ(turn.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(turn.sampling.min_p, 0.05F);
  EXPECT_FLOAT_EQ(turn.sampling.repetition_penalty, 1.1F);
  EXPECT_FLOAT_EQ(turn.sampling.frequency_penalty, -1.0F);
  EXPECT_FLOAT_EQ(turn.sampling.presence_penalty, 2.0F);
  EXPECT_EQ(turn.sampling.logit_bias,
            (std::vector<std::pair<engine::TokenId, float>>{{5, -100.0F}, {7, 1.5F}}));
}

TEST(DecodeChatRequest, LeavesOutWhatIsNullOrAbsent) {
  const ChatRequest request =
      decoded(R"({"stream": null, "max_tokens": null, "stop": null, "seed": null,
    "temperature": null, "logit_bias": null, "tools": null, "stream_options": null, "user": null, "n": null})");
  EXPECT_FALSE(request.is_stream);
  EXPECT_FALSE(request.turn.max_tokens);
  EXPECT_FALSE(request.turn.seed);
  EXPECT_TRUE(request.turn.stop.empty());
  EXPECT_EQ(request.turn.n_choices, 1U);
  EXPECT_FLOAT_EQ(request.turn.sampling.temperature, engine::SamplingParams{}.temperature);
}

TEST(DecodeChatRequest, ReadsMessagesInEveryShape) {
  const ChatRequest request = decoded(R"({"messages": [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], "name": "ann"},
    {"role": "assistant", "content": null, "reasoning_content": "hm"},
    {"role": "user", "content": ""}]})");
  const auto& messages = request.turn.messages;
  ASSERT_EQ(messages.size(), 4U);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "one\ntwo");
  EXPECT_EQ(messages[1].name, "ann");
  EXPECT_EQ(messages[2].content, "");
  EXPECT_EQ(messages[2].reasoning, "hm");
}

TEST(DecodeChatRequest, AcceptsEitherNameOfTheTokenLimit) {
  EXPECT_EQ(decoded(R"({"max_completion_tokens": 9})").turn.max_tokens, 9U);
  EXPECT_EQ(decoded(R"({"max_completion_tokens": 9, "max_tokens": 9})").turn.max_tokens, 9U);
  EXPECT_EQ(refused(R"({"max_completion_tokens": 9, "max_tokens": 8})").field, "max_tokens");
}

TEST(DecodeChatRequest, ReadsEveryHabitOfAskingForThought) {
  EXPECT_FALSE(decoded("{}").turn.enable_thinking);
  for (const char* off :
       {R"({"think": false})", R"({"enable_thinking": false})", R"({"reasoning_effort": "none"})",
        R"({"thinking": {"type": "disabled"}})",
        R"({"chat_template_kwargs": {"enable_thinking": false}})"}) {
    EXPECT_EQ(decoded(off).turn.enable_thinking, false) << off;
  }
  for (const char* on :
       {R"({"think": true})", R"({"think": "high"})", R"({"enable_thinking": true})",
        R"({"reasoning_effort": "low"})", R"({"thinking": {"type": "enabled"}})",
        R"({"chat_template_kwargs": {"enable_thinking": true}})"}) {
    EXPECT_EQ(decoded(on).turn.enable_thinking, true) << on;
  }
  EXPECT_EQ(json::parse(decoded(R"({"reasoning_effort": "low"})").turn.template_variables),
            json::parse(R"({"reasoning_effort":"low"})"));
  const std::string variables =
      decoded(R"({"chat_template_kwargs": {"x": [1]}})").turn.template_variables;
  EXPECT_EQ(json::parse(variables), json::parse(R"({"x":[1]})"));
}

struct Refusal {
  const char* fields;
  const char* field;
};

TEST(DecodeChatRequest, NamesTheFieldThatIsWrong) {
  const Refusal refusals[] = {
      {R"({"model": 1})", "model"},
      {R"({"messages": null})", "messages"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": {}})", "messages"},
      {R"({"messages": ["hi"]})", "messages[0]"},
      {R"({"messages": [{"content": "hi"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "king", "content": "hi"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "user"}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"text": "x"}]}]})",
       "messages[0].content[0].type"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "messages[0].content[0].text"},
      {R"({"stream": "yes"})", "stream"},
      {R"({"stream": true, "stream_options": []})", "stream_options"},
      {R"({"stream_options": {"include_usage": true}})", "stream_options"},
      {R"({"stream": true, "stream_options": {"include_usage": 1}})",
       "stream_options.include_usage"},
      {R"({"max_tokens": 0})", "max_tokens"},
      {R"({"max_tokens": -1})", "max_tokens"},
      {R"({"max_tokens": 1e30})", "max_tokens"},
      {R"({"max_tokens": "7"})", "max_tokens"},
      {R"({"temperature": -0.1})", "temperature"},
      {R"({"temperature": 2.1})", "temperature"},
      {R"({"temperature": "warm"})", "temperature"},
      {R"({"top_p": 1.5})", "top_p"},
      {R"({"top_k": -2})", "top_k"},
      {R"({"top_k": 1.5})", "top_k"},
      {R"({"repetition_penalty": 0})", "repetition_penalty"},
      {R"({"stop": 5})", "stop"},
      {R"({"stop": [5]})", "stop[0]"},
      {R"({"stop": ""})", "stop"},
      {R"({"stop": ["a",""]})", "stop[1]"},
      {R"({"stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]})",
       "stop"},
      {R"({"seed": 1.5})", "seed"},
      {R"({"seed": "x"})", "seed"},
      {R"({"n": 0})", "n"},
      {R"({"n": 9})", "n"},
      {R"({"logit_bias": []})", "logit_bias"},
      {R"({"logit_bias": {"x": 1}})", "logit_bias"},
      {R"({"logit_bias": {"-1": 1}})", "logit_bias"},
      {R"({"logit_bias": {"99999999999999": 1}})", "logit_bias"},
      {R"({"logit_bias": {"1": 101}})", "logit_bias.1"},
      {R"({"user": 7})", "user"},
      {R"({"think": 7})", "think"},
      {R"({"think": "hard"})", "think"},
      {R"({"reasoning_effort": "hard"})", "reasoning_effort"},
      {R"({"thinking": {"type": "maybe"}})", "thinking.type"},
      {R"({"chat_template_kwargs": 1})", "chat_template_kwargs"},
      {R"({"response_format": "json"})", "response_format"},
  };
  for (const Refusal& refusal : refusals) {
    const Error error = refused(refusal.fields);
    EXPECT_EQ(error.code, Code::kInvalidArgument) << refusal.fields;
    EXPECT_EQ(error.field, refusal.field) << refusal.fields << ": " << error.message;
  }
}

TEST(DecodeChatRequest, RefusesWhatItCannotDoInsteadOfDroppingIt) {
  const Refusal refusals[] = {
      {R"({"tools": [{"type": "function"}]})", "tools"},
      {R"({"functions": [{"name": "f"}]})", "functions"},
      {R"({"tool_choice": "required"})", "tool_choice"},
      {R"({"logprobs": true})", "logprobs"},
      {R"({"top_logprobs": 5})", "top_logprobs"},
      {R"({"audio": {"voice": "x"}})", "audio"},
      {R"({"modalities": ["text", "audio"]})", "modalities"},
      {R"({"response_format": {"type": "json_object"}})", "response_format.type"},
      {R"({"guided_json": {"type": "object"}})", "guided_json"},
      {R"({"thinking": {"type": "enabled", "budget_tokens": 100}})", "thinking.budget_tokens"},
      {R"({"messages": [{"role": "tool", "content": "x"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]})",
       "messages[0].tool_calls"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})",
       "messages[0].content[0].type"},
  };
  for (const Refusal& refusal : refusals) {
    const Error error = refused(refusal.fields);
    EXPECT_EQ(error.code, Code::kUnimplemented) << refusal.fields;
    EXPECT_EQ(error.reason, kReasonUnsupportedParameter) << refusal.fields;
    EXPECT_EQ(error.field, refusal.field) << refusal.fields << ": " << error.message;
  }
}

TEST(DecodeChatRequest, AcceptsUnsupportedFieldsThatAskForNothing) {
  decoded(
      R"({"tools": [], "tool_choice": "auto", "logprobs": false, "top_logprobs": 0, "modalities": ["text"],
              "response_format": {"type": "text"}, "functions": [], "parallel_tool_calls": true})");
}

TEST(DecodeChatRequest, KeepsSeedsOfEveryWidth) {
  EXPECT_EQ(decoded(R"({"seed": 18446744073709551615})").turn.seed, UINT64_MAX);
  EXPECT_EQ(decoded(R"({"seed": -1})").turn.seed, UINT64_MAX);
  EXPECT_EQ(decoded(R"({"seed": 0})").turn.seed, 0U);
}

TEST(DecodeChatRequest, AnswersEveryBodyOfTheCorpus) {
  const std::filesystem::path folder = DEEPWELL_SOURCE_DIR "/src/edge/api/http/chat_request_corpus";
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream body;
    body << file.rdbuf();
    const auto request = decode_chat_request(body.str());
    const bool is_good = entry.path().filename().string().starts_with("good-");
    EXPECT_EQ(request.has_value(), is_good)
        << entry.path() << (request ? "" : request.error().message);
    ++n_files;
  }
  EXPECT_GE(n_files, 20);
}

}  // namespace
}  // namespace deepwell::edge
