// Result<T>: a value or an Error; how every fallible function of Deepwell reports failure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/check.hpp"

namespace deepwell {

/// The sixteen canonical gRPC error codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
/// Each edge translates them with one table: HTTP status, gRPC status, exit code.
enum class Code : std::uint8_t {
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

/// The code's canonical name, for example "invalid_argument".
std::string_view code_name(Code code);

/// Why something failed. The message is lower case, without a full stop, names the offending value and says
/// what to do; it never holds a secret.
struct Error {
  Code code = Code::kUnknown;
  std::string message;
  std::string reason =
      {};  // a stable word for programs where the code says too little: "context_length_exceeded"
  std::string field = {};  // path of the input field that is at fault: "messages[2].content"
};

inline Error invalid_argument(std::string message) {
  return {Code::kInvalidArgument, std::move(message)};
}
inline Error not_found(std::string message) { return {Code::kNotFound, std::move(message)}; }
inline Error data_loss(std::string message) { return {Code::kDataLoss, std::move(message)}; }
inline Error unavailable(std::string message) { return {Code::kUnavailable, std::move(message)}; }
inline Error internal_error(std::string message) { return {Code::kInternal, std::move(message)}; }

/// A T or an Error. Spelled like std::expected. Reading the wrong side is a programmer's bug and aborts.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(*-explicit-*)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(*-explicit-*)

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & { return require_value(), std::get<0>(state_); }
  const T& value() const& { return require_value(), std::get<0>(state_); }
  T&& value() && { return require_value(), std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return require_error(), std::get<1>(state_); }
  Error&& error() && { return require_error(), std::get<1>(std::move(state_)); }

  T value_or(T fallback) && {
    return has_value() ? std::get<0>(std::move(state_)) : std::move(fallback);
  }

 private:
  void require_value() const { DW_CHECK(has_value(), "value() of a Result that holds an error"); }
  void require_error() const { DW_CHECK(!has_value(), "error() of a Result that holds a value"); }

  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)), has_value_(false) {}  // NOLINT(*-explicit-*)

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }
  const Error& error() const& {
    DW_CHECK(!has_value_, "error() of a Result that holds a value");
    return error_;
  }
  Error&& error() && {
    DW_CHECK(!has_value_, "error() of a Result that holds a value");
    return std::move(error_);
  }

 private:
  Error error_;
  bool has_value_ = true;
};

using Status = Result<void>;

}  // namespace deepwell

#define DW_CONCAT_INNER(a, b) a##b
#define DW_CONCAT(a, b) DW_CONCAT_INNER(a, b)

/// Returns the error of a Result<...> expression from the enclosing function, if it is one.
#define DW_TRY(expression)                                   \
  do {                                                       \
    if (auto dw_try_result = (expression); !dw_try_result) { \
      return std::move(dw_try_result).error();               \
    }                                                        \
  } while (false)

/// `DW_ASSIGN(auto x, f());` declares or assigns x from f()'s value, or returns f()'s error.
#define DW_ASSIGN(target, expression) \
  DW_ASSIGN_INNER(DW_CONCAT(dw_assign_, __LINE__), target, expression)
#define DW_ASSIGN_INNER(name, target, expression) \
  auto name = (expression);                       \
  if (!name) {                                    \
    return std::move(name).error();               \
  }                                               \
  target = std::move(name).value()
