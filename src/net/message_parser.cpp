// What Beast's parser accepts is narrowed here: lengths, encodings, hosts and sizes.
#include "net/message_parser.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>

#include "base/concat.hpp"

namespace deepwell::net {

namespace http = boost::beast::http;

namespace {

constexpr std::uint32_t kResponseHeaderBytes = 64 * 1024;

// The shortest end of a chunked body, "0\r\n\r\n". Between chunks at least this much is to come, and Beast's parser
// asserts that it sees no less once it has begun with the last chunk.
constexpr std::size_t kShortestChunkedEnd = 5;

boost::beast::error_code stop_parsing() {
  return make_error_code(boost::system::errc::operation_canceled);
}

HttpError header_too_large(const RequestLimits& limits) {
  return {431, concat("the header is larger than ", limits.max_header_bytes,
                      " bytes: send fewer or shorter fields")};
}

HttpError target_too_long(const RequestLimits& limits) {
  return {414, concat("the request target is longer than ", limits.max_target_bytes, " bytes")};
}

// Whether a request line that Beast refused ends in " HTTP/2.0" or the like.
bool asks_for_another_version(std::string_view data) {
  const std::string_view line = data.substr(0, data.find("\r\n"));
  const auto at = line.rfind(" HTTP/");
  return at != std::string_view::npos && line.size() == at + 9 && line[at + 6] != '1';
}

std::string to_std(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

RequestParser::RequestParser(const RequestLimits& limits) : limits_(limits) {
  header_limit(limits.max_header_bytes);
  body_limit(boost::none);  // Request counts against the route's limit
  eager(false);
}

std::size_t RequestParser::put_some(std::string_view data) {
  boost::beast::error_code ec;
  const std::size_t n = put(boost::asio::const_buffer(data.data(), data.size()), ec);
  if (!ec || ec == http::error::need_more || error_) return n;
  if (ec == http::error::header_limit) {
    error_ = header_too_large(limits_);
  } else if (ec == http::error::bad_version && asks_for_another_version(data)) {
    error_ = HttpError{505, "the versions served are HTTP/1.1 and HTTP/1.0"};
  } else {
    error_ = HttpError{400, concat("malformed request: ", ec.message())};
  }
  return n;
}

std::size_t RequestParser::parse_header(std::string_view data) {
  std::size_t n_consumed = 0;
  if (method.empty()) {  // empty lines before a request line are ignored (RFC 9112 section 2.2)
    while (data.substr(n_consumed).starts_with("\r\n")) n_consumed += 2;
  }
  const bool is_line_cut = method.empty() && data.substr(n_consumed) == "\r";
  while (!is_header_done() && !error_ && n_consumed < data.size() && !is_line_cut) {
    const std::size_t n = put_some(data.substr(n_consumed));
    if (n == 0) break;
    n_consumed += n;
  }
  n_header_bytes_ += n_consumed;
  if (!error_) check_size(is_header_done() ? std::string_view() : data.substr(n_consumed));
  return n_consumed;
}

// Beast's limit holds for one call only; this one holds for the header as a whole. `rest` is its
// unconsumed part.
void RequestParser::check_size(std::string_view rest) {
  const auto space = rest.find(' ');
  if (method.empty() && space != std::string_view::npos) {  // within the request line
    const auto end = std::min(rest.find(' ', space + 1), rest.size());
    if (end - space - 1 > limits_.max_target_bytes) error_ = target_too_long(limits_);
  }
  if (!error_ && n_header_bytes_ + rest.size() > limits_.max_header_bytes) {
    error_ = header_too_large(limits_);
  }
}

RequestParser::BodyStep RequestParser::parse_body(std::string_view data, std::span<char> out) {
  out_ = out;
  n_written_ = 0;
  BodyStep step;
  while (!is_done() && !error_ && step.n_consumed < data.size() && n_written_ < out_.size()) {
    const std::string_view rest = data.substr(step.n_consumed);
    if (chunked() && chunk_left_bytes_ == 0 && rest.size() < kShortestChunkedEnd) break;
    const std::size_t n = put_some(rest);
    if (n == 0) break;
    step.n_consumed += n;
  }
  step.n_written = n_written_;
  return step;
}

bool RequestParser::expects_continue() const {
  const auto expect = headers.get("Expect");
  return expect && version_ >= 11 && equals_ignore_case(*expect, "100-continue");
}

std::optional<std::uint64_t> RequestParser::content_length_bytes() const {
  if (!headers.contains("Content-Length")) return std::nullopt;
  const auto length = content_length();
  return length ? std::optional<std::uint64_t>(*length) : std::nullopt;
}

void RequestParser::fail(int status, std::string message, error_code& ec) {
  error_ = HttpError{status, std::move(message)};
  ec = stop_parsing();
}

void RequestParser::on_request_impl(verb, string_view method_text, string_view target_text,
                                    int version, error_code& ec) {
  method = to_std(method_text);
  target = to_std(target_text);
  version_ = version;
  if (target.size() > limits_.max_target_bytes) {
    error_ = target_too_long(limits_);
    ec = stop_parsing();
  }
}

void RequestParser::on_field_impl(field, string_view name, string_view value, error_code& ec) {
  if (is_header_done())
    return;  // trailers: read and dropped, so that none can stand in for a header
  if (headers.size() >= limits_.n_headers_max) {
    return fail(431, concat("more than ", limits_.n_headers_max, " header fields"), ec);
  }
  headers.add(to_std(name), to_std(value));
}

void RequestParser::on_header_impl(error_code& ec) {
  if (auto problem = check_framing()) fail(problem->status, std::move(problem->message), ec);
}

// RFC 9112 sections 3.2, 6.1 and 6.3. Where a proxy in front might read a message in another way
// than we do, the message is refused: that is what request smuggling lives on.
std::optional<HttpError> RequestParser::check_framing() const {
  const auto hosts = headers.get_all("Host");
  if (hosts.size() > 1) return HttpError{400, "more than one Host header"};
  if (is_http_1_1() && hosts.empty()) return HttpError{400, "the Host header is missing"};

  const auto lengths = headers.get_all("Content-Length");
  const auto encodings = headers.get_all("Transfer-Encoding");
  if (lengths.size() > 1 || (!lengths.empty() && lengths[0].find(',') != std::string_view::npos)) {
    return HttpError{400, "more than one Content-Length"};
  }
  if (!lengths.empty() && !encodings.empty()) {
    return HttpError{400, "both Content-Length and Transfer-Encoding"};
  }
  if (encodings.size() > 1) return HttpError{400, "more than one Transfer-Encoding"};
  if (!encodings.empty() && !is_http_1_1()) {
    return HttpError{400, "Transfer-Encoding needs HTTP/1.1"};
  }
  if (!encodings.empty() && !equals_ignore_case(encodings[0], "chunked")) {
    return HttpError{501, "the only Transfer-Encoding served is chunked"};
  }
  const auto expect = headers.get("Expect");
  if (expect && !equals_ignore_case(*expect, "100-continue")) {
    return HttpError{417, "the only expectation served is 100-continue"};
  }
  return std::nullopt;
}

std::size_t RequestParser::on_body_impl(string_view body, error_code&) {
  const std::size_t n = std::min(body.size(), out_.size() - n_written_);
  std::copy_n(body.data(), n, out_.data() + n_written_);
  n_written_ += n;
  return n;
}

std::size_t RequestParser::on_chunk_body_impl(std::uint64_t n_left, string_view body,
                                              error_code& ec) {
  const std::size_t n = on_body_impl(body, ec);
  chunk_left_bytes_ = n_left - n;
  return n;
}

ResponseParser::ResponseParser(OnBody on_body, bool has_no_body) : on_body_(std::move(on_body)) {
  header_limit(kResponseHeaderBytes);
  body_limit(boost::none);
  eager(true);
  skip(has_no_body);
}

Result<std::size_t> ResponseParser::parse(std::string_view data) {
  const bool is_between_chunks = is_header_done() && chunked() && chunk_left_bytes_ == 0;
  if (is_done() || (is_between_chunks && data.size() < kShortestChunkedEnd)) return std::size_t{0};
  boost::beast::error_code ec;
  const std::size_t n = put(boost::asio::const_buffer(data.data(), data.size()), ec);
  if (failure_) return *failure_;
  if (!ec || ec == http::error::need_more) return n;
  return Error{Code::kDataLoss, concat("malformed answer: ", ec.message())};
}

Status ResponseParser::finish_at_eof() {
  if (is_done()) return {};
  if (!got_some())
    return Error{Code::kUnavailable, "the server closed the connection without an answer"};
  boost::beast::error_code ec;
  put_eof(ec);
  if (!ec) return {};
  const auto rest = is_header_done() ? content_length_remaining() : boost::none;
  if (rest) {
    return Error{Code::kDataLoss,
                 concat("the connection ended ", *rest, " bytes before the end of the body")};
  }
  return Error{Code::kDataLoss, "the connection ended within the answer"};
}

void ResponseParser::on_field_impl(field, string_view name, string_view value, error_code&) {
  if (!is_header_done()) headers.add(to_std(name), to_std(value));
}

std::size_t ResponseParser::on_body_impl(string_view body, error_code& ec) {
  if (Status taken = on_body_({body.data(), body.size()}); !taken) {
    failure_ = std::move(taken).error();
    ec = stop_parsing();
  }
  return body.size();
}

std::size_t ResponseParser::on_chunk_body_impl(std::uint64_t n_left, string_view body,
                                               error_code& ec) {
  chunk_left_bytes_ = n_left - body.size();
  return on_body_impl(body, ec);
}

}  // namespace deepwell::net
