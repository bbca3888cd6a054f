// What a request may ask of the sampler.
#include <cmath>
#include <string_view>
#include <utility>

#include "base/concat.hpp"
#include "engine/sampling/sampler.hpp"

namespace deepwell::engine {
namespace {

constexpr float kMaxTemperature = 100.0F;
constexpr float kMaxRepetitionPenalty = 100.0F;
constexpr float kMaxPenalty = 2.0F;  // as the OpenAI API has it
constexpr float kMaxBias = 100.0F;   // likewise

Error refuse(std::string_view field, std::string message) {
  return Error{
      .code = Code::kInvalidArgument, .message = std::move(message), .field = std::string(field)};
}

Status check_range(std::string_view field, float value, float low, float high) {
  if (!(value >= low && value <= high)) {  // not-a-number is outside too
    return refuse(field, concat(field, " is ", value, "; it must be between ", low, " and ", high));
  }
  return {};
}

}  // namespace

Status validate(const SamplingParams& params, std::uint32_t n_vocab) {
  DW_TRY(check_range("temperature", params.temperature, 0.0F, kMaxTemperature));
  if (params.top_k < 0) {
    return refuse("top_k",
                  concat("top_k is ", params.top_k, "; it must be positive, or 0 to turn it off"));
  }
  DW_TRY(check_range("top_p", params.top_p, 0.0F, 1.0F));
  DW_TRY(check_range("min_p", params.min_p, 0.0F, 1.0F));
  DW_TRY(check_range("repetition_penalty", params.repetition_penalty, 1.0F / kMaxRepetitionPenalty,
                     kMaxRepetitionPenalty));
  DW_TRY(check_range("frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  DW_TRY(check_range("presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty));
  for (const auto& [id, bias] : params.logit_bias) {
    if (id < 0 || static_cast<std::uint32_t>(id) >= n_vocab) {
      return refuse("logit_bias", concat("logit_bias names token ", id,
                                         "; the vocabulary has ids 0 to ", n_vocab - 1));
    }
    DW_TRY(check_range("logit_bias", bias, -kMaxBias, kMaxBias));
  }
  return {};
}

}  // namespace deepwell::engine
