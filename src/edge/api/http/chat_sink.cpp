// The two shapes of a chat completion.
// References: https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming
#include "edge/api/http/chat_sink.hpp"

#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "edge/api/http/errors.hpp"
#include "edge/api/http/stream_cursor.hpp"

namespace deepwell::edge {

namespace {

using engine::FinishReason;
using json = nlohmann::ordered_json;
using service::Answer;
using service::AnswerDelta;
using service::AnswerInfo;
using service::Usage;

// JSON larger than this is written on the pool: it takes about a millisecond.
constexpr std::size_t kLargeJsonBytes = 64 * 1024;

json finish_name(FinishReason finish) {
  switch (finish) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kNone:
      break;
  }
  return nullptr;
}

json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.n_prompt_tok},
          {"completion_tokens", usage.n_generated_tok},
          {"total_tokens", usage.n_prompt_tok + usage.n_generated_tok},
          {"prompt_tokens_details", {{"cached_tokens", usage.n_cached_tok}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.n_reasoning_tok}}}};
}

// The tier in which an answer was given.
const char* tier_name(engine::Priority priority) {
  switch (priority) {
    case engine::Priority::kHigh:
      return "priority";
    case engine::Priority::kNormal:
      return "default";
    case engine::Priority::kLow:
    case engine::Priority::kBackground:
      break;
  }
  return "flex";
}

json head_json(const AnswerInfo& info, const char* object) {
  json body;
  body["id"] = info.id;
  body["object"] = object;
  body["created"] = info.created_unix_s;
  body["model"] = info.model;
  body["system_fingerprint"] = info.fingerprint;
  if (info.use_service_tier) body["service_tier"] = tier_name(info.priority);
  return body;
}

std::string dump(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

// A JSON string, quotes included.
std::string quoted(const std::string& text) { return dump(json(text)); }

void set_resumable(net::Headers& headers, const Answer& answer) {
  headers.set("Deepwell-Stream-Id", answer.info().id);
  headers.set("Deepwell-Resumable", answer.is_resumable() ? "true" : "false");
}

class JsonSink final : public ChatSink {
 public:
  JsonSink(const Answer& answer, Api& api, net::Request& request, net::ResponseWriter& writer)
      : answer_(answer),
        api_(api),
        request_(request),
        writer_(writer),
        choices_(answer.info().n_choices) {}

  Task<Status> write(const AnswerDelta& delta) override {
    Choice& choice = choices_[delta.choice];
    choice.reasoning += delta.reasoning;
    choice.content += delta.content;
    if (delta.finish != FinishReason::kNone) choice.finish = delta.finish;
    co_return Status();
  }

  Task<Status> ping() override { co_return Status(); }

  Task<Status> finish(const Usage& usage) override {
    std::size_t n_bytes = 0;
    for (const Choice& choice : choices_)
      n_bytes += choice.reasoning.size() + choice.content.size();
    std::string body;
    auto render = [this, &usage] { return render_body(usage); };
    if (n_bytes > kLargeJsonBytes) {
      body = co_await offload(api_.pool, request_.executor(), std::move(render));
    } else {
      body = render();
    }
    net::Response response = net::make_response(200, net::kJson, std::move(body));
    set_resumable(response.headers, answer_);
    co_return co_await writer_.send(std::move(response));
  }

  Task<void> fail(Error error) override {
    return send_error(api_, request_, writer_, std::move(error));
  }

 private:
  struct Choice {
    std::string reasoning;
    std::string content;
    FinishReason finish = FinishReason::kNone;
  };

  std::string render_body(const Usage& usage) const {
    json body = head_json(answer_.info(), "chat.completion");
    body["seed"] = answer_.info().seed;
    if (!answer_.is_resumable()) body["resumable"] = false;
    if (answer_.is_continued()) body["continued"] = true;
    body["choices"] = json::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      json message;
      message["role"] = "assistant";
      if (!choices_[i].reasoning.empty()) message["reasoning_content"] = choices_[i].reasoning;
      message["content"] = choices_[i].content;
      message["refusal"] = nullptr;
      json choice;
      choice["index"] = i;
      choice["message"] = std::move(message);
      choice["logprobs"] = nullptr;
      choice["finish_reason"] = finish_name(choices_[i].finish);
      body["choices"].push_back(std::move(choice));
    }
    body["usage"] = usage_json(usage);
    return dump(body);
  }

  const Answer& answer_;
  Api& api_;
  net::Request& request_;
  net::ResponseWriter& writer_;
  std::vector<Choice> choices_;
};

// Every chunk of a stream begins with the same bytes: they are rendered once.
class SseSink final : public ChatSink {
 public:
  SseSink(const Answer& answer, service::Cursor from, Api& api, net::Request& request,
          net::ResponseWriter& writer)
      : answer_(answer),
        cursor_(std::move(from)),
        api_(api),
        request_(request),
        writer_(writer),
        head_(head_of(answer.info())) {}

  Task<Status> write(const AnswerDelta& delta) override {
    Status started = co_await start();
    if (!started) co_return started;
    service::ChoiceCursor& at = cursor_.choices[delta.choice];
    at.n_tok = delta.position;
    const bool is_last = delta.finish != FinishReason::kNone;
    at.has_finished = is_last;
    if (!is_last && delta.reasoning.empty() && delta.content.empty()) co_return Status();
    std::string fields;
    if (!delta.reasoning.empty())
      fields = concat("\"reasoning_content\":", quoted(delta.reasoning));
    if (!delta.content.empty()) {
      fields += concat(fields.empty() ? "" : ",", "\"content\":", quoted(delta.content));
    }
    const bool is_continued = is_last && answer_.is_continued();
    const std::string event =
        chunk(delta.choice, fields, delta.finish, is_continued ? ",\"continued\":true" : "");
    co_return co_await writer_.write(event);
  }

  Task<Status> ping() override {
    if (!answer_.is_decided()) co_return Status();  // the first byte waits for the journal
    Status started = co_await start();
    if (!started) co_return started;
    std::string comment = net::sse_comment("ping");
    // A comment, which every client skips that was not told of it.
    if (const auto place = answer_.waiting()) {
      comment = net::sse_comment(
          concat("queue position=", place->position, " estimated_wait_s=", place->wait.count()));
    }
    co_return co_await writer_.write(comment);
  }

  Task<Status> finish(const Usage& usage) override {
    Status started = co_await start();  // a reader may come when all has been sent
    if (!started) co_return started;
    std::string events;
    if (answer_.info().use_usage_chunk && !cursor_.has_usage) {
      cursor_.has_usage = true;
      json body = head_json(answer_.info(), "chat.completion.chunk");
      if (answer_.is_continued()) body["continued"] = true;
      body["choices"] = json::array();
      body["usage"] = usage_json(usage);
      events += net::sse_event(dump(body), {}, format_cursor(cursor_));
    }
    events += net::sse_event("[DONE]", {}, format_cursor(cursor_));
    Status written = co_await writer_.write(events);
    if (!written) co_return written;
    co_return co_await writer_.finish();
  }

  Task<void> fail(Error error) override {
    if (!writer_.is_started()) {
      co_await send_error(api_, request_, writer_, std::move(error));
      co_return;
    }
    const RequestInfo* info = request_.find<RequestInfo>();
    ErrorDetails details;
    if (error.reason == kReasonShuttingDown) details.is_resumable = answer_.is_resumable();
    const std::string body =
        error_body(error, info == nullptr ? Language::kEnglish : info->language, details);
    const std::string event = net::sse_event(body, "error");
    const Status written = co_await writer_.write(event);
    static_cast<void>(written);
    writer_.abort();  // a clean end would make half an answer look whole
  }

 private:
  static std::string head_of(const AnswerInfo& info) {
    json head = head_json(info, "chat.completion.chunk");
    head["seed"] = info.seed;
    std::string text = dump(head);
    text.pop_back();       // the closing brace: the rest of each chunk follows
    text.shrink_to_fit();  // kept as long as the stream
    return text;
  }

  // Sent with the first news of the answer, so that an error before it still gets its own status.
  Task<Status> start() {
    if (writer_.is_started()) co_return Status();
    net::Headers headers = net::sse_headers();
    set_resumable(headers, answer_);
    Status started = co_await writer_.start(200, std::move(headers));
    if (!started) co_return started;
    std::string events;
    for (std::uint32_t i = 0; i < answer_.info().n_choices; ++i) {
      if (cursor_.choices[i].has_begun) continue;
      cursor_.choices[i].has_begun = true;
      events += chunk(i, R"("role":"assistant","content":"")", FinishReason::kNone,
                      answer_.is_resumable() ? "" : ",\"resumable\":false");
    }
    co_return co_await writer_.write(events);
  }

  // `delta` and `extra` are JSON fields.
  std::string chunk(std::uint32_t index, std::string_view delta, FinishReason finish,
                    std::string_view extra) const {
    const std::string body =
        concat(head_, extra, ",\"choices\":[{\"index\":", index, ",\"delta\":{", delta,
               "},\"logprobs\":null,\"finish_reason\":", dump(finish_name(finish)), "}]",
               // present in every chunk, as the reference has it
               answer_.info().use_usage_chunk ? ",\"usage\":null}" : "}");
    return net::sse_event(body, {}, format_cursor(cursor_));
  }

  const Answer& answer_;
  service::Cursor cursor_;
  Api& api_;
  net::Request& request_;
  net::ResponseWriter& writer_;
  const std::string head_;
};

}  // namespace

std::unique_ptr<ChatSink> make_json_sink(const Answer& answer, Api& api, net::Request& request,
                                         net::ResponseWriter& writer) {
  return std::make_unique<JsonSink>(answer, api, request, writer);
}

std::unique_ptr<ChatSink> make_sse_sink(const Answer& answer, service::Cursor from, Api& api,
                                        net::Request& request, net::ResponseWriter& writer) {
  return std::make_unique<SseSink>(answer, std::move(from), api, request, writer);
}

}  // namespace deepwell::edge
