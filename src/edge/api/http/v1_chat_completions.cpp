// POST /v1/chat/completions: one turn of a conversation, whole or as a stream.
#include <optional>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "edge/api/http/api.hpp"
#include "edge/api/http/chat_request.hpp"
#include "edge/api/http/chat_sink.hpp"
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

Task<Result<ChatRequest>> read_request(Api& api, net::Request& request) {
  Result<std::string> body = co_await request.read_body();
  if (!body) co_return body_error(std::move(body).error());
  if (body->size() <= kLargeBodyBytes) co_return decode_chat_request(*body);
  auto decode = [&body] { return decode_chat_request(*body); };
  co_return co_await offload(api.pool, request.executor(), std::move(decode));
}

// Times between tokens, as the engine gave them: a slow client does not change them.
class Pace {
 public:
  Pace(Metrics& metrics, std::uint32_t n_choices)
      : metrics_(metrics), start_(std::chrono::steady_clock::now()), last_(n_choices) {}

  void note(const service::AnswerDelta& delta) {
    if (delta.n_tok == 0) return;
    std::optional<SteadyTime>& last = last_[delta.choice];
    std::uint32_t n_gaps = delta.n_tok;
    if (!last) {
      metrics_.observe_time_to_first_token(seconds(delta.at - start_));
      last = delta.at;
      return;
    }
    const double gap = seconds(delta.at - *last) / n_gaps;
    for (; n_gaps > 0; --n_gaps) metrics_.observe_inter_token(gap);
    last = delta.at;
  }

 private:
  static double seconds(std::chrono::steady_clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
  }

  Metrics& metrics_;
  const SteadyTime start_;
  std::vector<std::optional<SteadyTime>> last_;
};

// Brings the answer to the sink until it ends, fails, or nobody listens.
Task<void> deliver(Api& api, net::Request& request, service::Answer& answer, ChatSink& sink,
                   Pace& pace) {
  const CancelToken cancel = request.cancel_token();
  while (!answer.is_finished()) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + api.options.ping_interval;
    auto deltas = co_await answer.next(deadline, cancel);
    Status written;
    if (deltas) {
      for (const service::AnswerDelta& delta : *deltas) {
        pace.note(delta);
        written = co_await sink.write(delta);
        if (!written) break;
      }
    } else if (deltas.error().code == Code::kDeadlineExceeded) {
      written = co_await sink.ping();
    } else {
      const bool is_cancelled = deltas.error().code == Code::kCancelled;
      Error error = is_cancelled ? request.cancel_reason() : std::move(deltas).error();
      if (error.code == Code::kCancelled) api.metrics.count_client_left();
      co_await sink.fail(std::move(error));
      co_return;
    }
    if (!written) {
      api.metrics.count_client_left();
      co_return;
    }
  }
  const service::Usage usage = answer.usage();
  const Status finished = co_await sink.finish(usage);
  if (!finished) api.metrics.count_client_left();
}

Task<void> handle(Api& api, net::Request& request, net::ResponseWriter& writer) {
  auto decoded = co_await read_request(api, request);
  if (decoded && !decoded->model.empty() && !api.serves_model(decoded->model)) {
    decoded = unknown_model(api, decoded->model);
  }
  if (!decoded) {
    co_await send_error(request, writer, std::move(decoded).error());
    co_return;
  }
  Pace pace(api.metrics, decoded->turn.n_choices);
  ChatHead head;
  head.id = random_id("chatcmpl-");
  head.model = decoded->model.empty() ? api.model_names.front() : decoded->model;
  head.fingerprint = api.generator.describe().fingerprint;
  head.created_unix_s = wall_clock_s();
  head.n_choices = decoded->turn.n_choices;
  head.use_usage_chunk = decoded->use_usage_chunk;

  const service::Principal principal = *request.find<service::Principal>();
  service::Turn turn = std::move(decoded->turn);
  auto started = co_await api.dialogue.start(std::move(turn), principal, request.executor());
  if (!started) {
    co_await send_error(request, writer, std::move(started).error());
    co_return;
  }
  service::Answer& answer = **started;
  head.seed = answer.seed();
  api.log.info(request.find<RequestInfo>()->id, " is ", head.id, ", seed ", head.seed);

  const auto sink = decoded->is_stream ? make_sse_sink(std::move(head), request, writer)
                                       : make_json_sink(std::move(head), api, request, writer);
  co_await deliver(api, request, answer, *sink, pace);
  const service::Usage usage = answer.usage();  // what was computed counts, delivered or not
  api.metrics.count_tokens(principal.tenant, usage.n_prompt_tok, usage.n_cached_tok,
                           usage.n_generated_tok, usage.n_reasoning_tok);
}

}  // namespace

extern const Endpoint kEndpoint_v1_chat_completions;
const Endpoint kEndpoint_v1_chat_completions = {.name = "chat_completions",
                                                .method = "POST",
                                                .path = "/v1/chat/completions",
                                                .scope = service::Scope::kInference,
                                                .handle = handle};

}  // namespace deepwell::edge
