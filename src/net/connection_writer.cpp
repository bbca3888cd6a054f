// Writing one response: head, framing, and what the connection does afterwards.
#include "net/connection_writer.hpp"

#include <array>
#include <boost/beast/http/status.hpp>
#include <ctime>

#include "base/concat.hpp"

namespace deepwell::net {

namespace {

// RFC 9110 section 5.6.7; written by hand because strftime follows the locale.
std::string http_date() {
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed",
                                                    "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const auto two = [](int n) { return concat(n < 10 ? "0" : "", n); };
  return concat(kDays[static_cast<std::size_t>(utc.tm_wday)], ", ", two(utc.tm_mday), " ",
                kMonths[static_cast<std::size_t>(utc.tm_mon)], " ", utc.tm_year + 1900, " ",
                two(utc.tm_hour), ":", two(utc.tm_min), ":", two(utc.tm_sec), " GMT");
}

// A line break in a value would let its author write headers of their own.
void append_safe(std::string& out, std::string_view text) {
  for (const char c : text) out.push_back(c == '\r' || c == '\n' || c == '\0' ? ' ' : c);
}

bool is_server_business(std::string_view name) {
  return equals_ignore_case(name, "Content-Length") ||
         equals_ignore_case(name, "Transfer-Encoding") || equals_ignore_case(name, "Connection") ||
         equals_ignore_case(name, "Date");
}

bool may_have_body(int status) { return status >= 200 && status != 204 && status != 304; }

std::string hex(std::size_t n) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, n, 16).ptr;
  return std::string(digits, end);
}

Status already_answered() {
  return Error{Code::kFailedPrecondition, "this request has been answered already"};
}

}  // namespace

ConnectionWriter::ConnectionWriter(Connection& connection, const Request& request)
    : connection_(connection),
      is_head_request_(request.method == "HEAD"),
      is_http_1_1_(connection.message_.is_http_1_1) {}

std::string ConnectionWriter::head(int status, const Headers& headers, Framing framing,
                                   std::size_t len_body) {
  const auto code = static_cast<unsigned>(status);
  const auto reason = boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(code));
  std::string out = concat("HTTP/1.1 ", status, " ", std::string_view(reason.data(), reason.size()),
                           "\r\nDate: ", http_date(), "\r\n");
  for (const Headers* list : {&headers, static_cast<const Headers*>(&extra_headers)}) {
    for (const auto& [name, value] : *list) {
      if (is_server_business(name)) continue;
      append_safe(out, name);
      out.append(": ");
      append_safe(out, value);
      out.append("\r\n");
    }
  }
  if (framing == Framing::kChunked) out.append("Transfer-Encoding: chunked\r\n");
  if (framing == Framing::kLength && may_have_body(status)) {
    out.append(concat("Content-Length: ", len_body, "\r\n"));
  }
  if (framing == Framing::kUntilClose || connection_.server_.is_stop_announced ||
      !connection_.message_.keeps_alive ||
      (connection_.is_input_ended_ && connection_.input().empty())) {
    connection_.must_close_ = true;
  }
  if (connection_.must_close_) {
    out.append("Connection: close\r\n");
  } else if (!is_http_1_1_) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
  return out;
}

Task<Status> ConnectionWriter::write_last(std::string_view bytes) {
  auto status = co_await connection_.write_all(bytes);
  connection_.is_answered_ = status.has_value();
  co_return status;
}

Task<Status> ConnectionWriter::send(Response response) {
  co_await resume_on(connection_.loop_);
  if (is_started()) co_return already_answered();
  status_ = response.status;
  is_finished_ = true;
  // Nobody will read the rest of the request's body: the connection can be used again only if all
  // of it is here.
  if (!connection_.must_close_ && !connection_.skip_rest_of_body()) connection_.must_close_ = true;
  std::string bytes =
      head(response.status, response.headers, Framing::kLength, response.body.size());
  if (!is_head_request_ && may_have_body(response.status)) {
    bytes.append(response.body);
    n_body_bytes_ = response.body.size();
  }
  auto sent = co_await write_last(bytes);
  co_return sent;
}

Task<Status> ConnectionWriter::start(int status, Headers headers) {
  co_await resume_on(connection_.loop_);
  if (is_started()) co_return already_answered();
  status_ = status;
  framing_ = is_http_1_1_ ? Framing::kChunked : Framing::kUntilClose;
  if (!connection_.has_whole_body()) connection_.must_close_ = true;
  const std::string bytes = head(status, headers, framing_, 0);
  extra_headers = {};  // sent, and a stream may last
  auto sent = co_await connection_.write_all(bytes);
  co_return sent;
}

Task<Status> ConnectionWriter::write(std::string_view chunk) {
  co_await resume_on(connection_.loop_);
  if (!is_started() || is_finished_ || is_aborted_) {
    co_return Error{Code::kFailedPrecondition, "write() belongs between start() and finish()"};
  }
  if (chunk.empty() || is_head_request_) co_return Status();
  n_body_bytes_ += chunk.size();
  if (framing_ == Framing::kUntilClose) {
    auto sent = co_await connection_.write_all(chunk);
    co_return sent;
  }
  const std::string bytes = concat(hex(chunk.size()), "\r\n", chunk, "\r\n");
  auto sent = co_await connection_.write_all(bytes);
  co_return sent;
}

Task<Status> ConnectionWriter::finish() {
  co_await resume_on(connection_.loop_);
  if (!is_started() || is_finished_ || is_aborted_) {
    co_return Error{Code::kFailedPrecondition, "finish() belongs after start(), once"};
  }
  is_finished_ = true;
  const bool has_last_chunk = framing_ == Framing::kChunked && !is_head_request_;
  auto sent = co_await write_last(has_last_chunk ? "0\r\n\r\n" : "");
  co_return sent;
}

void ConnectionWriter::abort() { is_aborted_ = true; }

void ConnectionWriter::settle() {
  if (is_finished_) return;
  connection_.must_close_ = true;
  // Without the last chunk a chunked answer is visibly broken off. The end of an HTTP/1.0 answer is
  // the end of the connection, so only RST tells.
  if (is_started() && framing_ == Framing::kUntilClose) connection_.must_reset_ = true;
}

}  // namespace deepwell::net
