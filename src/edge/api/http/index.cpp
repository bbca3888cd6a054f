// GET /: says to a person what is running here and how to talk to it.
#include "base/concat.hpp"
#include "edge/api/http/api.hpp"
#include "edge/api/http/errors.hpp"

namespace deepwell::edge {

namespace {

std::string english(const Api& api) {
  std::string text =
      concat("Deepwell ", DEEPWELL_VERSION,
             " is running: a self-hosted dialogue server with its own inference engine.\n\n",
             "The API speaks OpenAI's protocol; point any client's base URL at /v1.\n\n");
  for (const Endpoint* endpoint : endpoints()) {
    text += concat("  ", endpoint->method, endpoint->method == "GET" ? "   " : "  ", endpoint->path,
                   "\n");
  }
  text += concat(api.keys.is_open() ? "\nNo API key is asked for.\n"
                                    : "\nSend your API key as 'Authorization: Bearer KEY'.\n");
  return text;
}

std::string chinese(const Api& api) {
  std::string text =
      concat("Deepwell ", DEEPWELL_VERSION, " 正在运行：自带推理引擎的私有化对话服务。\n\n",
             "接口兼容 OpenAI 协议，把客户端的 base URL 指向 /v1 即可。\n\n");
  for (const Endpoint* endpoint : endpoints()) {
    text += concat("  ", endpoint->method, endpoint->method == "GET" ? "   " : "  ", endpoint->path,
                   "\n");
  }
  text += concat(api.keys.is_open() ? "\n无需 API 密钥。\n"
                                    : "\n请用 Authorization: Bearer KEY 发送 API 密钥。\n");
  return text;
}

// Both languages, the preferred one first. Names no model: the page needs no key.
Task<void> handle(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const bool is_chinese = request.find<RequestInfo>()->language == Language::kChinese;
  std::string text = is_chinese ? concat(chinese(api), "\n", english(api))
                                : concat(english(api), "\n", chinese(api));
  net::Response response = net::make_response(200, net::kTextPlain, std::move(text));
  co_await send(writer, std::move(response));
}

}  // namespace

extern const Endpoint kEndpoint_index;
const Endpoint kEndpoint_index = {
    .name = "index", .method = "GET", .path = "/", .scope = {}, .handle = handle};

}  // namespace deepwell::edge
