// POST /v1/chat/completions: one turn of a conversation, whole or as a stream.
#include <algorithm>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "base/sha256.hpp"
#include "edge/api/http/api.hpp"
#include "edge/api/http/chat_request.hpp"
#include "edge/api/http/chat_sink.hpp"
#include "edge/api/http/deliver.hpp"
#include "edge/api/http/errors.hpp"
#include "net/server.hpp"

namespace deepwell::edge {

namespace {

// A body larger than this is decoded on the pool: it may take over a millisecond.
constexpr std::size_t kLargeBodyBytes = 64 * 1024;

// What reading the body went wrong with, as this API words it.
Error body_error(Error error) {
  const int status = net::status_of_body_error(error);
  if (status == 413)
    return {.code = Code::kOutOfRange,
            .message = std::move(error.message),
            .reason = std::string(kReasonBodyTooLarge)};
  if (status == 408)
    return {.code = Code::kDeadlineExceeded,
            .message = std::move(error.message),
            .reason = std::string(kReasonRequestTimeout)};
  return error;
}

// What makes a repeated request the same one.
constexpr std::size_t kMaxKeyBytes = 255;

Result<std::string> idempotency_key(const net::Request& request) {
  const auto given = request.headers.get("Idempotency-Key");
  if (!given) return std::string();
  const bool is_visible =
      std::all_of(given->begin(), given->end(), [](char c) { return c >= 0x20 && c < 0x7F; });
  if (given->empty() || given->size() > kMaxKeyBytes || !is_visible) {
    return Error{.code = Code::kInvalidArgument,
                 .message = concat("Idempotency-Key: expected 1 to ", kMaxKeyBytes,
                                   " visible ASCII characters, got ", given->size(), " bytes"),
                 .field = "Idempotency-Key"};
  }
  return std::string(*given);
}

// A request that was read and understood.
struct Received {
  ChatRequest chat;
  service::Ask ask;
};

Task<Result<Received>> receive(Api& api, net::Request& request) {
  auto key = idempotency_key(request);
  if (!key) co_return std::move(key).error();
  Result<std::string> body = co_await request.read_body();
  if (!body) co_return body_error(std::move(body).error());
  auto decode = [&]() -> Result<Received> {
    Received received;
    DW_ASSIGN(received.chat, decode_chat_request(*body));
    if (!key->empty()) received.ask.request_hash = sha256_hex(*body);
    received.ask.idempotency_key = std::move(*key);
    return received;
  };
  if (body->size() <= kLargeBodyBytes) co_return decode();
  co_return co_await offload(api.pool, request.executor(), std::move(decode));
}

// What a request leads to.
struct Begun {
  std::unique_ptr<service::Answer> answer;  // null: an error was sent
  bool is_stream = false;
};

Task<Result<std::unique_ptr<service::Answer>>> start(Api& api, net::Request& request,
                                                     bool& is_stream) {
  auto received = co_await receive(api, request);
  if (!received) co_return std::move(received).error();
  ChatRequest& chat = received->chat;
  if (!chat.model.empty() && !api.serves_model(chat.model)) {
    co_return unknown_model(api, chat.model);
  }
  is_stream = chat.is_stream;
  service::Ask ask = std::move(received->ask);
  ask.id = random_id("chatcmpl-");
  ask.model = chat.model.empty() ? api.model_names.front() : chat.model;
  ask.is_streamed = chat.is_stream;
  ask.use_usage_chunk = chat.use_usage_chunk;
  ask.use_service_tier = chat.use_service_tier;
  service::Principal principal = *request.find<service::Principal>();
  service::Turn turn = std::move(chat.turn);
  co_return co_await api.dialogue->start(std::move(turn), std::move(ask), std::move(principal),
                                         request.executor());
}

// Apart from handle(), whose frame lives as long as the answer does.
Task<Begun> begin(Api& api, net::Request& request, net::ResponseWriter& writer) {
  Begun begun;
  auto started = co_await start(api, request, begun.is_stream);
  if (!started) {
    co_await send_error(api, request, writer, std::move(started).error());
    co_return begun;
  }
  begun.answer = std::move(*started);
  const service::AnswerInfo& info = begun.answer->info();
  api.log.info(request.find<RequestInfo>()->id, " is ", info.id, ", seed ", info.seed);
  request.forget_input();
  co_return begun;
}

std::unique_ptr<ChatSink> make_sink(const Begun& begun, Api& api, net::Request& request,
                                    net::ResponseWriter& writer) {
  const service::Answer& answer = *begun.answer;
  if (!begun.is_stream) return make_json_sink(answer, api, request, writer);
  service::Cursor from = service::cursor_at_start(answer.info().n_choices);
  return make_sse_sink(answer, std::move(from), api, request, writer);
}

Task<void> handle(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const SteadyTime came = std::chrono::steady_clock::now();
  const Begun begun = co_await begin(api, request, writer);
  if (!begun.answer) co_return;
  Pace pace(api.metrics, came, begun.answer->info().n_choices);
  const auto sink = make_sink(begun, api, request, writer);
  co_await deliver(api, request, *begun.answer, *sink, &pace);
}

}  // namespace

extern const Endpoint kEndpoint_v1_chat_completions;
const Endpoint kEndpoint_v1_chat_completions = {.name = "chat_completions",
                                                .method = "POST",
                                                .path = "/v1/chat/completions",
                                                .scope = service::Scope::kInference,
                                                .handle = handle};

}  // namespace deepwell::edge
