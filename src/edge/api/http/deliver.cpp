// From an answer to its sink.
#include "edge/api/http/deliver.hpp"

#include <algorithm>

namespace deepwell::edge {

namespace {

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void Pace::note(const service::AnswerDelta& delta) {
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

namespace {

// An answer that ended before its end, or whose client has left. Apart from deliver(), whose frame
// lives as long as the answer.
Task<void> end_badly(Api& api, net::Request& request, service::Answer& answer, ChatSink& sink,
                     Error error) {
  const bool is_cancelled = request.cancel_token().stop_requested() && error.reason.empty();
  if (is_cancelled) error = request.cancel_reason();
  if (is_cancelled && error.code == Code::kCancelled) api.metrics.count_client_left();
  // Out of time for everybody: nobody shall wait for it.
  if (is_cancelled && error.code == Code::kDeadlineExceeded) answer.stop();
  co_await sink.fail(std::move(error));
}

using Deltas = std::vector<service::AnswerDelta>;

Task<Status> write_all(Deltas deltas, ChatSink& sink, Pace* pace) {
  for (const service::AnswerDelta& delta : deltas) {
    if (pace != nullptr) pace->note(delta);
    Status written = co_await sink.write(delta);
    if (!written) co_return written;
  }
  co_return Status();
}

// What there is now, or that there is nothing. False: nothing more can be brought.
Task<bool> pass_on(Api& api, net::Request& request, service::Answer& answer, ChatSink& sink,
                   Pace* pace, Result<Deltas> deltas) {
  Status written;
  if (deltas) {
    written = co_await write_all(std::move(*deltas), sink, pace);
  } else if (deltas.error().code == Code::kDeadlineExceeded) {
    written = co_await sink.ping();
  } else {
    co_await end_badly(api, request, answer, sink, std::move(deltas).error());
    co_return false;
  }
  if (!written) api.metrics.count_client_left();
  co_return written.has_value();
}

Task<void> end_well(Api& api, service::Answer& answer, ChatSink& sink) {
  const service::Usage usage = answer.usage();
  const Status finished = co_await sink.finish(usage);
  if (!finished) api.metrics.count_client_left();
}

}  // namespace

namespace {

SteadyTime next_sign(const Api& api, const service::Answer& answer) {
  std::chrono::milliseconds interval = api.options.ping_interval;
  if (answer.waiting()) interval = std::min(interval, api.options.queue_interval);
  return std::chrono::steady_clock::now() + interval;
}

}  // namespace

// Its frame is held by every stream that waits for its next token.
Task<void> deliver(Api& api, net::Request& request, service::Answer& answer, ChatSink& sink,
                   Pace* pace) {
  while (!answer.is_finished()) {
    const SteadyTime deadline = next_sign(api, answer);
    Result<Deltas> deltas = co_await answer.next(deadline, request.cancel_token());
    const bool goes_on = co_await pass_on(api, request, answer, sink, pace, std::move(deltas));
    if (!goes_on) co_return;
  }
  co_await end_well(api, answer, sink);
}

}  // namespace deepwell::edge
