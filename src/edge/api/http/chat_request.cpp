// Decoding of chat completion requests, field by field.
#include "edge/api/http/chat_request.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "edge/api/http/json_reader.hpp"

namespace deepwell::edge {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr std::size_t kMaxBiases = 1024;
constexpr std::int64_t kMaxChoices = 8;
constexpr std::int64_t kMaxTokens = 1 << 24;

// What would change the answer and cannot be done here yet. Null, false, 0, "" and empty lists ask
// for nothing.
constexpr std::array<std::string_view, 23> kRefused = {"tools",
                                                       "functions",
                                                       "function_call",
                                                       "logprobs",
                                                       "top_logprobs",
                                                       "prompt_logprobs",
                                                       "audio",
                                                       "web_search_options",
                                                       "grammar",
                                                       "json_schema",
                                                       "guided_json",
                                                       "guided_regex",
                                                       "guided_choice",
                                                       "guided_grammar",
                                                       "structured_outputs",
                                                       "stop_token_ids",
                                                       "bad_words",
                                                       "min_tokens",
                                                       "best_of",
                                                       "use_beam_search",
                                                       "thinking_token_budget",
                                                       "allowed_token_ids",
                                                       "echo"};

bool asks_for_nothing(const json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();  // null, {} and []
}

Status refuse_unsupported(const ObjectReader& body) {
  for (const std::string_view key : kRefused) {
    const json* value = body.find(key);
    if (value != nullptr && !asks_for_nothing(*value)) {
      return unsupported(std::string(key), "not supported by this server yet: leave it out");
    }
  }
  if (const json* choice = body.find("tool_choice");
      choice != nullptr && *choice != "none" && *choice != "auto") {
    return unsupported("tool_choice", "tools are not supported by this server yet: leave it out");
  }
  if (const json* format = body.find("response_format"); format != nullptr) {
    DW_ASSIGN(const auto fields, ObjectReader::open(*format, "response_format"));
    DW_ASSIGN(const auto type, fields.text("type"));
    if (type.value_or("") != "text") {
      return unsupported("response_format.type", "only 'text' is supported by this server yet");
    }
  }
  if (const json* modalities = body.find("modalities");
      modalities != nullptr && *modalities != json::array({"text"})) {
    return unsupported("modalities", "only [\"text\"] is supported");
  }
  return {};
}

Result<std::string> decode_parts(const json& parts, const std::string& path) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string part_path = concat(path, "[", i, "]");
    DW_ASSIGN(const auto part, ObjectReader::open(parts[i], part_path));
    DW_ASSIGN(const auto type, part.text("type"));
    if (!type) return field_error(part.path_of("type"), "missing");
    if (*type != "text") {
      return unsupported(part.path_of("type"),
                         concat("parts of type '", *type, "' are not supported, only 'text'"));
    }
    DW_ASSIGN(const auto part_text, part.text("text"));
    if (!part_text) return field_error(part.path_of("text"), "missing");
    if (i > 0) text += '\n';
    text += *part_text;
  }
  return text;
}

Result<std::string> decode_content(const ObjectReader& message, const std::string& role) {
  const json* content = message.find("content");
  const std::string path = message.path_of("content");
  if (content == nullptr) {
    if (role == "assistant") return std::string();  // null is how clients send back an empty answer
    return field_error(path, "missing: expected a string or a list of text parts");
  }
  if (content->is_array()) return decode_parts(*content, path);
  if (content->is_string()) return content->get<std::string>();
  return field_error(
      path, concat("expected a string or a list of text parts, got ", json_kind(*content)));
}

Result<std::string> decode_role(const ObjectReader& message) {
  DW_ASSIGN(auto role, message.text("role"));
  const std::string path = message.path_of("role");
  if (!role) return field_error(path, "missing: expected system, developer, user or assistant");
  if (*role == "developer") return std::string("system");  // OpenAI's newer name for the same thing
  if (*role == "system" || *role == "user" || *role == "assistant") return std::move(*role);
  if (*role == "tool" || *role == "function") {
    return unsupported(path, "tools are not supported by this server yet");
  }
  return field_error(path,
                     concat("expected system, developer, user or assistant, got '", *role, "'"));
}

Result<service::ChatMessage> decode_message(const json& value, std::string path) {
  DW_ASSIGN(const auto fields, ObjectReader::open(value, std::move(path)));
  service::ChatMessage message;
  DW_ASSIGN(message.role, decode_role(fields));
  DW_ASSIGN(message.content, decode_content(fields, message.role));
  for (const std::string_view key : {"tool_calls", "function_call", "audio"}) {
    const json* field = fields.find(key);
    if (field != nullptr && !asks_for_nothing(*field)) {
      return unsupported(fields.path_of(key), "not supported by this server yet");
    }
  }
  DW_ASSIGN(auto reasoning, fields.text("reasoning_content"));
  if (!reasoning) {
    DW_ASSIGN(reasoning, fields.text("reasoning"));
  }
  message.reasoning = std::move(reasoning).value_or("");
  DW_ASSIGN(auto name, fields.text("name"));
  message.name = std::move(name).value_or("");
  return message;
}

Status decode_messages(const ObjectReader& body, service::Turn& turn) {
  const json* messages = body.find("messages");
  if (messages == nullptr) return field_error("messages", "missing: expected a list of messages");
  if (!messages->is_array()) {
    return field_error("messages", concat("expected a list, got ", json_kind(*messages)));
  }
  if (messages->empty() || messages->size() > kMaxMessages) {
    return field_error("messages",
                       concat("expected 1 to ", kMaxMessages, " messages, got ", messages->size()));
  }
  for (std::size_t i = 0; i < messages->size(); ++i) {
    DW_ASSIGN(auto message, decode_message((*messages)[i], concat("messages[", i, "]")));
    turn.messages.push_back(std::move(message));
  }
  return {};
}

Status decode_logit_bias(const ObjectReader& body, engine::SamplingParams& sampling) {
  const json* biases = body.find("logit_bias");
  if (biases == nullptr) return {};
  DW_ASSIGN(const auto fields, ObjectReader::open(*biases, "logit_bias"));
  if (biases->size() > kMaxBiases) {
    return field_error("logit_bias",
                       concat("expected at most ", kMaxBiases, " entries, got ", biases->size()));
  }
  for (const auto& [key, unused] : biases->items()) {
    engine::TokenId id = 0;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || id < 0) {
      return field_error("logit_bias", concat("expected token ids as keys, got '", key, "'"));
    }
    DW_ASSIGN(const auto bias, fields.number(key, -100, 100));
    if (bias) sampling.logit_bias.emplace_back(id, static_cast<float>(*bias));
  }
  return {};
}

Status decode_number(const ObjectReader& body, std::string_view key, double min, double max,
                     float& target) {
  DW_ASSIGN(const auto value, body.number(key, min, max));
  if (value) target = static_cast<float>(*value);
  return {};
}

Status decode_seed(const ObjectReader& body, service::Turn& turn) {
  const json* seed = body.find("seed");
  if (seed != nullptr && seed->is_number_unsigned()) {
    turn.seed = seed->get<std::uint64_t>();
    return {};
  }
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  DW_ASSIGN(const auto value, body.integer("seed", kMin, std::numeric_limits<std::int64_t>::max()));
  if (value) turn.seed = static_cast<std::uint64_t>(*value);
  return {};
}

Status decode_sampling(const ObjectReader& body, service::Turn& turn) {
  engine::SamplingParams& sampling = turn.sampling;
  DW_TRY(decode_number(body, "temperature", 0, 2, sampling.temperature));
  DW_TRY(decode_number(body, "top_p", 0, 1, sampling.top_p));
  DW_TRY(decode_number(body, "min_p", 0, 1, sampling.min_p));
  DW_TRY(decode_number(body, "repetition_penalty", 0.01, 10, sampling.repetition_penalty));
  DW_TRY(decode_number(body, "frequency_penalty", -2, 2, sampling.frequency_penalty));
  DW_TRY(decode_number(body, "presence_penalty", -2, 2, sampling.presence_penalty));
  DW_ASSIGN(const auto top_k, body.integer("top_k", -1, std::numeric_limits<std::int32_t>::max()));
  sampling.top_k = static_cast<std::int32_t>(
      std::max<std::int64_t>(top_k.value_or(0), 0));  // -1: off, as in vLLM
  DW_TRY(decode_logit_bias(body, sampling));
  return decode_seed(body, turn);
}

Status decode_stop(const ObjectReader& body, service::Turn& turn) {
  const json* stop = body.find("stop");
  if (stop == nullptr) return {};
  const json list = stop->is_string() ? json::array({*stop}) : *stop;
  if (!list.is_array()) {
    return field_error("stop",
                       concat("expected a string or a list of strings, got ", json_kind(list)));
  }
  if (list.size() > kMaxStops) {
    return field_error("stop",
                       concat("expected at most ", kMaxStops, " strings, got ", list.size()));
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = stop->is_string() ? "stop" : concat("stop[", i, "]");
    if (!list[i].is_string()) {
      return field_error(path, concat("expected a string, got ", json_kind(list[i])));
    }
    const auto& text = list[i].get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      return field_error(path,
                         concat("expected 1 to ", kMaxStopBytes, " bytes, got ", text.size()));
    }
    turn.stop.push_back(text);
  }
  return {};
}

Status decode_limits(const ObjectReader& body, service::Turn& turn) {
  DW_ASSIGN(const auto old_name, body.integer("max_tokens", 1, kMaxTokens));
  DW_ASSIGN(const auto new_name, body.integer("max_completion_tokens", 1, kMaxTokens));
  if (old_name && new_name && *old_name != *new_name) {
    return field_error("max_tokens", "differs from max_completion_tokens: send one of them");
  }
  if (old_name || new_name)
    turn.max_tokens = static_cast<std::uint32_t>(new_name ? *new_name : *old_name);
  DW_ASSIGN(const auto n_choices, body.integer("n", 1, kMaxChoices));
  turn.n_choices = static_cast<std::uint32_t>(n_choices.value_or(1));
  DW_ASSIGN(const auto ignore_end, body.boolean("ignore_eos"));
  turn.ignore_end = ignore_end.value_or(false);
  return {};
}

// How hard to think becomes the template variable that gpt-oss introduced. "none" and "minimal" are OpenAI's words for
// not thinking and for hardly thinking.
Status set_effort(const std::string& path, const std::string& effort, service::Turn& turn,
                  json& variables) {
  constexpr std::array<std::string_view, 6> kEfforts = {"none",   "minimal", "low",
                                                        "medium", "high",    "xhigh"};
  if (std::find(kEfforts.begin(), kEfforts.end(), effort) == kEfforts.end()) {
    return field_error(
        path, concat("expected none, minimal, low, medium, high or xhigh, got '", effort, "'"));
  }
  turn.enable_thinking = effort != "none";
  if (effort != "none") variables["reasoning_effort"] = effort;
  return {};
}

Status decode_thinking_object(const ObjectReader& body, service::Turn& turn) {
  const json* thinking = body.find("thinking");
  if (thinking == nullptr) return {};
  DW_ASSIGN(const auto fields, ObjectReader::open(*thinking, "thinking"));
  DW_ASSIGN(const auto type, fields.text("type"));
  if (type != "enabled" && type != "disabled") {
    return field_error("thinking.type", "expected 'enabled' or 'disabled'");
  }
  if (fields.find("budget_tokens") != nullptr) {
    return unsupported("thinking.budget_tokens", "not supported by this server yet: leave it out");
  }
  turn.enable_thinking = *type == "enabled";
  return {};
}

// Every habit of asking for thought or no thought; the later, more specific field wins.
Status decode_think(const ObjectReader& body, service::Turn& turn) {
  json variables = json::object();
  DW_ASSIGN(const auto effort, body.text("reasoning_effort"));
  if (effort) DW_TRY(set_effort("reasoning_effort", *effort, turn, variables));
  DW_TRY(decode_thinking_object(body, turn));
  if (const json* think = body.find("think"); think != nullptr && think->is_string()) {
    DW_TRY(set_effort("think", think->get<std::string>(), turn, variables));
  } else {
    DW_ASSIGN(const auto is_wanted, body.boolean("think"));
    if (is_wanted) turn.enable_thinking = is_wanted;
  }
  DW_ASSIGN(const auto is_enabled, body.boolean("enable_thinking"));
  if (is_enabled) turn.enable_thinking = is_enabled;

  if (const json* given = body.find("chat_template_kwargs"); given != nullptr) {
    DW_ASSIGN(const auto fields, ObjectReader::open(*given, "chat_template_kwargs"));
    DW_ASSIGN(const auto is_wanted, fields.boolean("enable_thinking"));
    if (is_wanted) turn.enable_thinking = is_wanted;
    variables.update(*given);
    variables.erase("enable_thinking");
  }
  if (!variables.empty()) turn.template_variables = variables.dump();
  return {};
}

// OpenAI's tiers are three of our priorities; "auto" leaves the choice to the server.
Result<engine::Priority> priority_of_tier(const std::string& tier) {
  if (tier == "auto" || tier == "default") return engine::Priority::kNormal;
  if (tier == "flex") return engine::Priority::kLow;
  if (tier == "priority") return engine::Priority::kHigh;
  return field_error("service_tier",
                     concat("expected auto, default, flex or priority, got '", tier, "'"));
}

// vLLM's `priority` orders by number, the lower the earlier, 0 if it is not given: of that we keep the sign.
engine::Priority priority_of_number(std::int64_t number) {
  if (number == 0) return engine::Priority::kNormal;
  return number < 0 ? engine::Priority::kHigh : engine::Priority::kLow;
}

Status decode_priority(const ObjectReader& body, ChatRequest& request) {
  constexpr std::int64_t kMaxNumber = std::numeric_limits<std::int32_t>::max();
  engine::Priority& priority = request.turn.priority;
  DW_ASSIGN(const auto tier, body.text("service_tier"));
  if (tier) {
    DW_ASSIGN(priority, priority_of_tier(*tier));
    request.use_service_tier = true;
  }
  DW_ASSIGN(const auto number, body.integer("priority", -kMaxNumber, kMaxNumber));
  if (!number) return {};
  if (tier && tier != "auto" && priority_of_number(*number) != priority) {
    return field_error("priority", "differs from service_tier: send one of them");
  }
  priority = priority_of_number(*number);
  return {};
}

Status decode_streaming(const ObjectReader& body, ChatRequest& request) {
  DW_ASSIGN(const auto is_stream, body.boolean("stream"));
  request.is_stream = is_stream.value_or(false);
  const json* options = body.find("stream_options");
  if (options == nullptr) return {};
  if (!request.is_stream)
    return field_error("stream_options", "allowed only with \"stream\": true");
  DW_ASSIGN(const auto fields, ObjectReader::open(*options, "stream_options"));
  DW_ASSIGN(const auto use_usage_chunk, fields.boolean("include_usage"));
  request.use_usage_chunk = use_usage_chunk.value_or(false);
  return {};
}

}  // namespace

Result<ChatRequest> decode_chat_request(std::string_view body) {
  DW_ASSIGN(const json parsed, parse_json(body));
  DW_ASSIGN(const auto fields, ObjectReader::open(parsed, ""));
  ChatRequest request;
  DW_ASSIGN(auto model, fields.text("model"));
  request.model = std::move(model).value_or("");
  DW_TRY(refuse_unsupported(fields));
  DW_TRY(decode_messages(fields, request.turn));
  DW_TRY(decode_sampling(fields, request.turn));
  DW_TRY(decode_stop(fields, request.turn));
  DW_TRY(decode_limits(fields, request.turn));
  DW_TRY(decode_think(fields, request.turn));
  DW_TRY(decode_priority(fields, request));
  DW_TRY(decode_streaming(fields, request));
  DW_ASSIGN(const auto user,
            fields.text("user"));  // accepted and of the right type; whose it is says the key
  static_cast<void>(user);
  return request;
}

}  // namespace deepwell::edge
