// Reading a request's body within its limit, and ending a request early.
#include "net/request.hpp"

#include "base/concat.hpp"

namespace deepwell::net {

namespace {
constexpr std::size_t kReadBytes = 16 * 1024;

Error too_large(std::uint64_t limit_bytes) {
  return Error{Code::kResourceExhausted,
               concat("the request body is larger than the limit of ", limit_bytes,
                      " bytes: send less, or raise the limit of the server")};
}
}  // namespace

Request::Request(Executor& executor, std::unique_ptr<BodySource> body)
    : executor_(&executor), body_(std::move(body)) {}

std::optional<std::string_view> Request::query_value(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return std::nullopt;
}

const std::string& Request::param(std::string_view name) const {
  for (const auto& [key, value] : params) {
    if (key == name) return value;
  }
  DW_CHECK(false, "param() of a name that the route's pattern lacks");
  return params.front().second;
}

Task<Result<std::size_t>> Request::read_body_some(std::span<char> space) {
  if (content_length.value_or(0) > max_body_bytes) co_return too_large(max_body_bytes);
  if (!body_) co_return std::size_t{0};
  auto n = co_await body_->read_some(space);
  if (!n) co_return n;
  n_body_read_ += *n;
  if (n_body_read_ > max_body_bytes) co_return too_large(max_body_bytes);
  co_return n;
}

Task<Result<std::string>> Request::read_body() {
  std::string body;
  for (;;) {
    const std::size_t n_before = body.size();
    body.resize(n_before + kReadBytes);
    const auto n = co_await read_body_some(std::span<char>(body).subspan(n_before));
    if (!n) co_return n.error();
    body.resize(n_before + *n);
    if (*n == 0) co_return body;
  }
}

void Request::forget_input() {
  headers = {};
  std::string().swap(target);
  query = {};
  params = {};
  body_.reset();
}

void Request::cancel(Error reason) {
  {
    const std::lock_guard lock(reason_mutex_);
    if (!reason_) reason_ = std::make_unique<const Error>(std::move(reason));
  }
  cancel_source_.request_stop();
}

Error Request::cancel_reason() const {
  const std::lock_guard lock(reason_mutex_);
  return reason_ ? *reason_ : Error{Code::kCancelled, "the client left"};
}

}  // namespace deepwell::net
