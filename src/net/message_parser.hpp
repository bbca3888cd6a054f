// RequestParser, ResponseParser: HTTP/1.1 messages out of bytes, strict where leniency would let
// requests be smuggled. Over Beast's parser. Internal to net.
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "net/headers.hpp"

namespace deepwell::net {

/// Why a request cannot be served, as the server itself answers it before closing.
struct HttpError {
  int status = 400;
  std::string message;
};

struct RequestLimits {
  std::uint32_t max_header_bytes = 32 * 1024;
  std::uint32_t max_target_bytes = 8 * 1024;
  std::uint32_t n_headers_max = 128;
};

/// One request. Feed the bytes not yet consumed, with more behind them each time.
class RequestParser final : private boost::beast::http::basic_parser<true> {
 public:
  explicit RequestParser(const RequestLimits& limits);

  /// Reads the header out of `data`; returns how much was consumed. Then look at error() and
  /// is_header_done(): if neither, more bytes are needed.
  std::size_t parse_header(std::string_view data);

  struct BodyStep {
    std::size_t n_consumed = 0;
    std::size_t n_written = 0;
  };
  /// Reads body bytes out of `data` into `out`, until either is used up, more bytes are needed, the
  /// body is done or broken. Neither consumed nor written: more bytes are needed.
  BodyStep parse_body(std::string_view data, std::span<char> out);

  using basic_parser::is_header_done;
  bool is_done() const { return basic_parser::is_done(); }
  const std::optional<HttpError>& error() const { return error_; }

  // After is_header_done():
  std::string method;
  std::string target;
  Headers headers;
  bool is_http_1_1() const { return version_ >= 11; }
  bool keeps_alive() const { return is_header_done() && basic_parser::keep_alive(); }
  bool expects_continue() const;
  std::optional<std::uint64_t> content_length_bytes() const;

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;
  using verb = boost::beast::http::verb;
  using field = boost::beast::http::field;

  void on_request_impl(verb, string_view method_text, string_view target_text, int version,
                       error_code& ec) override;
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(field, string_view name, string_view value, error_code& ec) override;
  void on_header_impl(error_code& ec) override;
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code& ec) override;
  void on_chunk_header_impl(std::uint64_t n_bytes, string_view, error_code&) override {
    chunk_left_bytes_ = n_bytes;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& ec) override;
  void on_finish_impl(error_code&) override {}

  std::optional<HttpError> check_framing() const;
  void check_size(std::string_view rest);
  void fail(int status, std::string message, error_code& ec);
  std::size_t put_some(std::string_view data);

  RequestLimits limits_;
  std::optional<HttpError> error_;
  int version_ = 11;
  std::size_t n_header_bytes_ = 0;  // consumed
  std::span<char> out_;
  std::size_t n_written_ = 0;
  std::uint64_t chunk_left_bytes_ = 0;
};

/// One response, as the client reads it; body bytes go to a callback.
class ResponseParser final : private boost::beast::http::basic_parser<false> {
 public:
  using OnBody = std::function<Status(std::string_view)>;
  /// `has_no_body`: the answer to HEAD or CONNECT.
  ResponseParser(OnBody on_body, bool has_no_body);

  /// Consumes what it can. An error is final: kDataLoss for broken framing, else what the callback
  /// returned.
  Result<std::size_t> parse(std::string_view data);
  /// The connection ended: an error if the message is not whole.
  Status finish_at_eof();

  using basic_parser::is_header_done;
  bool is_done() const { return basic_parser::is_done(); }

  int status = 0;
  Headers headers;

 private:
  using error_code = boost::beast::error_code;
  using string_view = boost::beast::string_view;
  using verb = boost::beast::http::verb;
  using field = boost::beast::http::field;

  void on_request_impl(verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int code, string_view, int, error_code&) override { status = code; }
  void on_field_impl(field, string_view name, string_view value, error_code& ec) override;
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code& ec) override;
  void on_chunk_header_impl(std::uint64_t n_bytes, string_view, error_code&) override {
    chunk_left_bytes_ = n_bytes;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& ec) override;
  void on_finish_impl(error_code&) override {}

  OnBody on_body_;
  std::optional<Error> failure_;
  std::uint64_t chunk_left_bytes_ = 0;
};

}  // namespace deepwell::net
