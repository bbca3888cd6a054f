// GET and DELETE /v1/streams/{id}: the rest of an answer for a client that lost its connection, and
// its end for one that does not want it any more.
// Spec: docs/api/streams.md
#include "edge/api/http/api.hpp"
#include "edge/api/http/deliver.hpp"
#include "edge/api/http/stream_cursor.hpp"

namespace deepwell::edge {

namespace {

// What a browser's EventSource sends by itself is newer than what stands in its address.
std::string cursor_text(const net::Request& request) {
  const auto header = request.headers.get("Last-Event-ID");
  if (header && !header->empty()) return std::string(*header);
  return std::string(request.query_value("starting_after").value_or(""));
}

Task<void> read_stream(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const std::string text = cursor_text(request);
  service::Cursor from;
  auto cursor_of = [&text, &from](std::uint32_t n_choices) -> Result<service::Cursor> {
    DW_ASSIGN(from, parse_cursor(text, n_choices));
    return from;
  };
  const service::Principal principal = *request.find<service::Principal>();
  std::string id = request.param("id");
  service::Dialogue::CursorOf ask = cursor_of;
  auto attached =
      co_await api.dialogue->attach(std::move(id), std::move(ask), principal, request.executor());
  if (!attached) {
    co_await send_error(api, request, writer, std::move(attached).error());
    co_return;
  }
  service::Answer& answer = **attached;
  api.log.info(request.find<RequestInfo>()->id, " reads ", answer.info().id, " from '", text, "'");
  request.forget_input();
  const auto sink = make_sse_sink(answer, std::move(from), api, request, writer);
  co_await deliver(api, request, answer, *sink, nullptr);
}

Task<void> stop_stream(Api& api, net::Request& request, net::ResponseWriter& writer) {
  const service::Principal principal = *request.find<service::Principal>();
  std::string id = request.param("id");
  service::Dialogue::CursorOf at_start = [](std::uint32_t n_choices) {
    return parse_cursor("", n_choices);
  };
  auto attached = co_await api.dialogue->attach(std::move(id), std::move(at_start), principal,
                                                request.executor());
  if (!attached) {
    co_await send_error(api, request, writer, std::move(attached).error());
    co_return;
  }
  (*attached)->stop();  // one that has ended stays as it is
  net::Response response;
  response.status = 204;
  co_await send(writer, std::move(response));
}

}  // namespace

extern const Endpoint kEndpoint_v1_stream;
const Endpoint kEndpoint_v1_stream = {.name = "stream",
                                      .method = "GET",
                                      .path = "/v1/streams/{id}",
                                      .scope = service::Scope::kInference,
                                      .handle = read_stream};

extern const Endpoint kEndpoint_v1_stream_stop;
const Endpoint kEndpoint_v1_stream_stop = {.name = "stream_stop",
                                           .method = "DELETE",
                                           .path = "/v1/streams/{id}",
                                           .scope = service::Scope::kInference,
                                           .handle = stop_stream};

}  // namespace deepwell::edge
