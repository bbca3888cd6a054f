// The one table from error codes to HTTP, and the Chinese of what users see.
#include "edge/api/http/errors.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "service/dialogue/answer_book.hpp"
#include "service/dialogue/answer_reader.hpp"
#include "service/dialogue/queue_gate.hpp"
#include "service/dialogue/turn.hpp"

namespace deepwell::edge {

namespace {

constexpr std::string_view kInvalidRequest = "invalid_request_error";
constexpr std::string_view kServerError = "server_error";

// Rows with a reason first: the first row that matches decides.
// 501 would make the official clients retry, so what is not implemented is the request's error:
// 400.
constexpr HttpErrorRow kRows[] = {
    {Code::kDeadlineExceeded, kReasonRequestTimeout, 408, kInvalidRequest},
    {Code::kInvalidArgument, kReasonUnsupportedMediaType, 415, kInvalidRequest},
    {Code::kInvalidArgument, kReasonMethodNotAllowed, 405, kInvalidRequest},
    {Code::kOutOfRange, kReasonBodyTooLarge, 413, kInvalidRequest},
    {Code::kInvalidArgument, service::kReasonKeyReused, 422, kInvalidRequest},
    {Code::kFailedPrecondition, service::kReasonModelChanged, 410, kInvalidRequest},
    {Code::kInvalidArgument, "", 400, kInvalidRequest},
    {Code::kOutOfRange, "", 400, kInvalidRequest},
    {Code::kFailedPrecondition, "", 400, kInvalidRequest},
    {Code::kUnimplemented, "", 400, kInvalidRequest},
    {Code::kUnauthenticated, "", 401, "authentication_error"},
    {Code::kPermissionDenied, "", 403, "permission_error"},
    {Code::kNotFound, "", 404, kInvalidRequest},
    {Code::kAlreadyExists, "", 409, kInvalidRequest},
    {Code::kAborted, "", 409, kInvalidRequest},
    {Code::kResourceExhausted, "", 429, "rate_limit_error"},
    {Code::kCancelled, "", 499, kInvalidRequest},  // nginx's number for a client that left
    {Code::kUnavailable, "", 503, kServerError},
    {Code::kDeadlineExceeded, "", 504, kServerError},
    {Code::kInternal, "", 500, kServerError},
    {Code::kDataLoss, "", 500, kServerError},
    {Code::kUnknown, "", 500, kServerError},
};

struct Translation {
  std::string_view word;  // an error's reason, or its code's name
  std::string_view chinese;
};

constexpr Translation kTranslations[] = {
    {service::kReasonContextLength, "对话超出了模型的上下文长度，请缩短内容或调大 --ctx-size"},
    {kReasonBodyTooLarge, "请求体过大"},
    {kReasonRequestTimeout, "请求体没有按时发完"},
    {kReasonUnsupportedMediaType, "请使用 Content-Type: application/json"},
    {kReasonMethodNotAllowed, "该地址不支持这种请求方法"},
    {kReasonHostNotAllowed, "不允许使用该 Host 访问本服务"},
    {kReasonOriginNotAllowed, "不允许来自该网页来源的请求"},
    {kReasonInvalidApiKey, "缺少 API 密钥或密钥不正确"},
    {kReasonMissingScope, "该密钥没有所需的权限"},
    {kReasonModelNotFound, "没有这个模型"},
    {kReasonNoSuchPath, "没有这个地址"},
    {kReasonUnsupportedParameter, "暂不支持该参数"},
    {kReasonInvalidJson, "请求体不是有效的 JSON"},
    {kReasonModelLoading, "模型正在加载，请稍后重试"},
    {service::kReasonQueueFull, "排队已满，请稍后重试"},
    {service::kReasonTenantQueueFull, "您的排队名额已用完，请稍后重试"},
    {service::kReasonKeyReused, "该 Idempotency-Key 已用于另一个请求"},
    {service::kReasonElsewhere, "该回答正由另一台服务器处理，请稍后重试"},
    {service::kReasonModelChanged, "模型已更换，该回答无法继续"},
    {service::kReasonAbandoned, "回答因长时间无人读取而停止"},
    {service::kReasonStopped, "回答已按要求停止"},
    {kReasonShuttingDown, "服务正在停止，请稍后重试"},
    {"invalid_argument", "请求参数有误"},
    {"out_of_range", "请求参数超出范围"},
    {"failed_precondition", "当前无法执行该请求"},
    {"unimplemented", "暂不支持该功能"},
    {"unauthenticated", "缺少 API 密钥或密钥不正确"},
    {"permission_denied", "没有权限"},
    {"not_found", "没有找到"},
    {"resource_exhausted", "服务繁忙，请稍后重试"},
    {"unavailable", "服务暂时不可用，请稍后重试"},
    {"deadline_exceeded", "处理超时"},
    {"internal", "服务内部错误"},
    {"data_loss", "服务内部错误"},
    {"unknown", "服务内部错误"},
};

std::string_view word_of(const Error& error) {
  return error.reason.empty() ? code_name(error.code) : std::string_view(error.reason);
}

std::string_view chinese_of(const Error& error) {
  const auto find = [](std::string_view word) {
    return std::find_if(std::begin(kTranslations), std::end(kTranslations),
                        [word](const Translation& row) { return row.word == word; });
  };
  auto row = find(word_of(error));
  if (row == std::end(kTranslations)) row = find(code_name(error.code));
  return row == std::end(kTranslations) ? std::string_view() : row->chinese;
}

}  // namespace

Language preferred_language(std::string_view accept_language) {
  float best_weight = 0.0F;
  bool is_chinese = false;
  while (!accept_language.empty()) {
    const auto comma = std::min(accept_language.find(','), accept_language.size());
    std::string_view range = accept_language.substr(0, comma);
    accept_language.remove_prefix(std::min(comma + 1, accept_language.size()));
    range.remove_prefix(std::min(range.find_first_not_of(" \t"), range.size()));

    float weight = 1.0F;
    if (const auto q = range.find("q="); q != std::string_view::npos) {
      std::from_chars(range.data() + q + 2, range.data() + range.size(), weight);
    }
    if (range.empty() || weight <= best_weight) continue;  // the first of equals wins
    best_weight = weight;
    is_chinese = range.starts_with("zh") || range.starts_with("ZH") || range.starts_with("Zh");
  }
  return is_chinese ? Language::kChinese : Language::kEnglish;
}

const HttpErrorRow& http_error_row(const Error& error) {
  for (const HttpErrorRow& row : kRows) {
    if (row.code == error.code && (row.reason.empty() || row.reason == error.reason)) return row;
  }
  return kRows[std::size(kRows) - 1];
}

std::string error_body(const Error& error, Language language, const ErrorDetails& details) {
  std::string message = error.message;
  if (language == Language::kChinese) {
    if (const std::string_view chinese = chinese_of(error); !chinese.empty()) {
      message = concat(chinese, " (", error.message, ")");
    }
  }
  nlohmann::ordered_json fields;
  fields["message"] = std::move(message);
  fields["type"] = http_error_row(error).type;
  fields["param"] = nullptr;
  if (!error.field.empty()) fields["param"] = error.field;
  fields["code"] = word_of(error);
  if (details.queue_position) fields["queue_position"] = *details.queue_position;
  if (details.retry_after) fields["retry_after_s"] = details.retry_after->count();
  if (details.progress) fields["progress"] = *details.progress;
  if (details.is_resumable) fields["resumable"] = *details.is_resumable;
  nlohmann::ordered_json body;
  body["error"] = std::move(fields);
  // Messages quote what clients sent: bytes that are not UTF-8 are replaced instead of throwing.
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace deepwell::edge
