// Plans and outcomes as JSON. Unknown fields are ignored: a neighbour version may have written them.
#include "service/dialogue/plan.hpp"

#include <nlohmann/json.hpp>

#include "base/concat.hpp"

namespace deepwell::service {

namespace {

using engine::FinishReason;
using nlohmann::json;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json sampling_json(const engine::SamplingParams& sampling) {
  return {{"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"repetition_penalty", sampling.repetition_penalty},
          {"frequency_penalty", sampling.frequency_penalty},
          {"presence_penalty", sampling.presence_penalty},
          {"logit_bias", sampling.logit_bias},
          {"seed", sampling.seed}};
}

engine::SamplingParams sampling_of(const json& value) {
  engine::SamplingParams sampling;
  value.at("temperature").get_to(sampling.temperature);
  value.at("top_k").get_to(sampling.top_k);
  value.at("top_p").get_to(sampling.top_p);
  value.at("min_p").get_to(sampling.min_p);
  value.at("repetition_penalty").get_to(sampling.repetition_penalty);
  value.at("frequency_penalty").get_to(sampling.frequency_penalty);
  value.at("presence_penalty").get_to(sampling.presence_penalty);
  value.at("logit_bias").get_to(sampling.logit_bias);
  value.at("seed").get_to(sampling.seed);
  return sampling;
}

std::optional<ReasoningFormat> format_of(const std::string& open) {
  for (const ReasoningFormat& format : reasoning_formats()) {
    if (format.open == open) return format;
  }
  return std::nullopt;
}

AnswerPlan plan_of(const json& value) {
  AnswerPlan plan;
  plan.sampling = sampling_of(value.at("sampling"));
  value.at("max_tokens").get_to(plan.max_tokens);
  value.at("tags").get_to(plan.tags);
  value.at("ignore_end").get_to(plan.ignore_end);
  value.at("stop").get_to(plan.stop);
  if (const json& open = value.at("reasoning"); !open.is_null()) {
    plan.reasoning = format_of(open.get<std::string>());
    if (!plan.reasoning) throw std::invalid_argument("an unknown reasoning format");
  }
  value.at("is_thought_open").get_to(plan.is_thought_open);
  value.at("is_streamed").get_to(plan.is_streamed);
  value.at("use_usage_chunk").get_to(plan.use_usage_chunk);
  // Earlier versions wrote no priority.
  const int priority = value.value("priority", static_cast<int>(plan.priority));
  if (priority < 0 || priority >= static_cast<int>(engine::kNumPriorities)) {
    throw std::invalid_argument("an unknown priority");
  }
  plan.priority = static_cast<engine::Priority>(priority);
  plan.use_service_tier = value.value("use_service_tier", false);
  if (plan.tags.empty()) throw std::invalid_argument("no choices");
  return plan;
}

AnswerOutcome outcome_of(const json& value) {
  AnswerOutcome outcome;
  for (const json& entry : value.at("choices")) {
    ChoiceOutcome choice;
    entry.at("ids").get_to(choice.ids);
    const int finish = entry.at("finish").get<int>();
    if (finish < 0 || finish > static_cast<int>(FinishReason::kLength)) {
      throw std::invalid_argument("an unknown finish reason");
    }
    choice.finish = static_cast<FinishReason>(finish);
    outcome.choices.push_back(std::move(choice));
  }
  const json& usage = value.at("usage");
  usage.at("prompt").get_to(outcome.usage.n_prompt_tok);
  usage.at("cached").get_to(outcome.usage.n_cached_tok);
  usage.at("generated").get_to(outcome.usage.n_generated_tok);
  usage.at("reasoning").get_to(outcome.usage.n_reasoning_tok);
  if (const json& error = value.at("error"); !error.is_null()) {
    outcome.error = Error{.code = static_cast<Code>(error.at("code").get<int>()),
                          .message = error.at("message").get<std::string>(),
                          .reason = error.at("reason").get<std::string>()};
  }
  value.at("is_continued").get_to(outcome.is_continued);
  return outcome;
}

template <class T, class Read>
Result<T> decode(std::string_view text, Read read) {
  try {
    return read(json::parse(text));
  } catch (const std::exception& failure) {
    return data_loss(concat("the journal's record cannot be read: ", failure.what()));
  }
}

}  // namespace

std::string encode_plan(const AnswerPlan& plan) {
  json value = {{"sampling", sampling_json(plan.sampling)},
                {"max_tokens", plan.max_tokens},
                {"tags", plan.tags},
                {"ignore_end", plan.ignore_end},
                {"stop", plan.stop},
                {"reasoning", nullptr},
                {"is_thought_open", plan.is_thought_open},
                {"is_streamed", plan.is_streamed},
                {"use_usage_chunk", plan.use_usage_chunk},
                {"priority", static_cast<int>(plan.priority)},
                {"use_service_tier", plan.use_service_tier}};
  if (plan.reasoning) value["reasoning"] = plan.reasoning->open;
  return dump(value);
}

std::string encode_outcome(const AnswerOutcome& outcome) {
  json choices = json::array();
  for (const ChoiceOutcome& choice : outcome.choices) {
    choices.push_back({{"ids", choice.ids}, {"finish", static_cast<int>(choice.finish)}});
  }
  json value = {{"choices", std::move(choices)},
                {"usage",
                 {{"prompt", outcome.usage.n_prompt_tok},
                  {"cached", outcome.usage.n_cached_tok},
                  {"generated", outcome.usage.n_generated_tok},
                  {"reasoning", outcome.usage.n_reasoning_tok}}},
                {"error", nullptr},
                {"is_continued", outcome.is_continued}};
  if (outcome.error) {
    value["error"] = {{"code", static_cast<int>(outcome.error->code)},
                      {"message", outcome.error->message},
                      {"reason", outcome.error->reason}};
  }
  return dump(value);
}

Result<AnswerPlan> decode_plan(std::string_view text, std::vector<engine::TokenId> prompt) {
  DW_ASSIGN(AnswerPlan plan, decode<AnswerPlan>(text, plan_of));
  plan.prompt = std::move(prompt);
  return plan;
}

Result<AnswerOutcome> decode_outcome(std::string_view text) {
  return decode<AnswerOutcome>(text, outcome_of);
}

}  // namespace deepwell::service
