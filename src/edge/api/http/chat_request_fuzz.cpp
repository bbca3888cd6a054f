// Fuzz target: any bytes as the body of POST /v1/chat/completions give a request or an error that
// can be sent.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "edge/api/http/chat_request.hpp"
#include "edge/api/http/errors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto request = deepwell::edge::decode_chat_request(body);
  if (!request &&
      deepwell::edge::error_body(request.error(), deepwell::Language::kChinese).empty()) {
    __builtin_trap();
  }
  return 0;
}
