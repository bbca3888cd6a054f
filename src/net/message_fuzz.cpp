// Fuzzes the request parser: any bytes, cut anywhere, never crash, and mean the same as the same bytes in one piece.
#include <algorithm>
#include <array>
#include <string>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "net/message_parser.hpp"
#include "net/url.hpp"

namespace {

// What a request meant: its target, number of fields and body.
std::string read_in_pieces(std::string_view bytes, std::size_t len_piece) {
  deepwell::net::RequestParser parser(
      {.max_header_bytes = 512, .max_target_bytes = 64, .n_headers_max = 8});
  std::string input, body;
  std::array<char, 7> space;
  for (std::size_t at = 0; at < bytes.size() && !parser.error(); at += len_piece) {
    input.append(bytes.substr(at, len_piece));
    if (!parser.is_header_done()) input.erase(0, parser.parse_header(input));
    for (bool has_moved = parser.is_header_done(); has_moved && !parser.error();) {
      const auto step = parser.parse_body(input, space);
      input.erase(0, step.n_consumed);
      body.append(space.data(), step.n_written);
      has_moved = step.n_consumed > 0;
    }
  }
  if (parser.error() || !parser.is_done())
    return "not a request";  // which of the two may depend on the pieces
  (void)deepwell::net::parse_target(parser.target);
  return deepwell::concat(parser.target, " ", parser.headers.size(), " ", body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), n_bytes);
  const std::string whole = read_in_pieces(bytes, std::max<std::size_t>(n_bytes, 1));
  for (const std::size_t len_piece : {1, 3, 64}) {
    DW_CHECK(read_in_pieces(bytes, len_piece) == whole,
             "a request means something else when it comes in pieces");
  }
  return 0;
}
