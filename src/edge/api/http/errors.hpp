// How an Error leaves the house: HTTP status, OpenAI error type and envelope, in English or
// Chinese.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/text.hpp"

namespace deepwell::edge {

/// The language that an Accept-Language header prefers (RFC 9110 section 12.5.4): Chinese if a `zh`
/// range has the highest weight, else English.
Language preferred_language(std::string_view accept_language);

/// One row of the table that translates errors. A row with a reason wins over the row of its code
/// alone.
struct HttpErrorRow {
  Code code;
  std::string_view reason;  // empty: every error of this code
  int status;
  std::string_view type;  // OpenAI's `error.type`
};

const HttpErrorRow& http_error_row(const Error& error);

/// What some errors tell beyond OpenAI's fields; each is left out unless set.
struct ErrorDetails {
  std::optional<std::uint32_t> queue_position;
  std::optional<std::chrono::seconds> retry_after;  // also the header Retry-After
  std::optional<double> progress;                   // of loading, 0 to 1
  std::optional<bool> is_resumable;                 // the rest of the stream can be had elsewhere
};

/// The JSON envelope of OpenAI's API: {"error":{"message","type","param","code"}}. `code` is the
/// error's reason, or its code's name. In Chinese the message starts with a sentence in Chinese and
/// keeps the English detail in brackets.
std::string error_body(const Error& error, Language language, const ErrorDetails& details = {});

/// Reasons that the edge itself gives.
inline constexpr std::string_view kReasonBodyTooLarge = "request_too_large";
inline constexpr std::string_view kReasonRequestTimeout = "request_timeout";
inline constexpr std::string_view kReasonUnsupportedMediaType = "unsupported_media_type";
inline constexpr std::string_view kReasonMethodNotAllowed = "method_not_allowed";
inline constexpr std::string_view kReasonHostNotAllowed = "host_not_allowed";
inline constexpr std::string_view kReasonOriginNotAllowed = "origin_not_allowed";
inline constexpr std::string_view kReasonInvalidApiKey = "invalid_api_key";
inline constexpr std::string_view kReasonMissingScope = "missing_scope";
inline constexpr std::string_view kReasonModelNotFound = "model_not_found";
inline constexpr std::string_view kReasonNoSuchPath = "unknown_url";
inline constexpr std::string_view kReasonUnsupportedParameter = "unsupported_parameter";
inline constexpr std::string_view kReasonInvalidJson = "invalid_json";
inline constexpr std::string_view kReasonShuttingDown = "shutting_down";
inline constexpr std::string_view kReasonModelLoading = "model_loading";

}  // namespace deepwell::edge
