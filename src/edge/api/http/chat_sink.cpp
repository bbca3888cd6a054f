// The two shapes of a chat completion.
// References: https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming
#include "edge/api/http/chat_sink.hpp"

#include <nlohmann/json.hpp>

#include "edge/api/http/errors.hpp"

namespace deepwell::edge {

namespace {

using engine::FinishReason;
using json = nlohmann::ordered_json;
using service::AnswerDelta;
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

json head_json(const ChatHead& head, const char* object) {
  json body;
  body["id"] = head.id;
  body["object"] = object;
  body["created"] = head.created_unix_s;
  body["model"] = head.model;
  body["system_fingerprint"] = head.fingerprint;
  return body;
}

std::string dump(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

class JsonSink final : public ChatSink {
 public:
  JsonSink(ChatHead head, Api& api, net::Request& request, net::ResponseWriter& writer)
      : head_(std::move(head)),
        api_(api),
        request_(request),
        writer_(writer),
        choices_(head_.n_choices) {}

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
    co_return co_await writer_.send(std::move(response));
  }

  Task<void> fail(Error error) override { return send_error(request_, writer_, std::move(error)); }

 private:
  struct Choice {
    std::string reasoning;
    std::string content;
    FinishReason finish = FinishReason::kNone;
  };

  std::string render_body(const Usage& usage) const {
    json body = head_json(head_, "chat.completion");
    body["seed"] = head_.seed;
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

  const ChatHead head_;
  Api& api_;
  net::Request& request_;
  net::ResponseWriter& writer_;
  std::vector<Choice> choices_;
};

class SseSink final : public ChatSink {
 public:
  SseSink(ChatHead head, net::Request& request, net::ResponseWriter& writer)
      : head_(std::move(head)), request_(request), writer_(writer) {}

  Task<Status> write(const AnswerDelta& delta) override {
    Status started = co_await start();
    if (!started) co_return started;
    std::string events;
    if (!delta.reasoning.empty()) {
      events += chunk(delta.choice, {{"reasoning_content", delta.reasoning}}, FinishReason::kNone);
    }
    if (!delta.content.empty()) {
      events += chunk(delta.choice, {{"content", delta.content}}, FinishReason::kNone);
    }
    if (delta.finish != FinishReason::kNone)
      events += chunk(delta.choice, json::object(), delta.finish);
    co_return co_await writer_.write(events);
  }

  Task<Status> ping() override {
    Status started = co_await start();
    if (!started) co_return started;
    const std::string comment = net::sse_comment("ping");
    co_return co_await writer_.write(comment);
  }

  Task<Status> finish(const Usage& usage) override {
    std::string events;
    if (head_.use_usage_chunk) {
      json body = head_json(head_, "chat.completion.chunk");
      body["choices"] = json::array();
      body["usage"] = usage_json(usage);
      events += net::sse_event(dump(body));
    }
    events += net::sse_event("[DONE]");
    Status written = co_await writer_.write(events);
    if (!written) co_return written;
    co_return co_await writer_.finish();
  }

  Task<void> fail(Error error) override {
    if (!writer_.is_started()) {
      co_await send_error(request_, writer_, std::move(error));
      co_return;
    }
    const RequestInfo* info = request_.find<RequestInfo>();
    const std::string body =
        error_body(error, info == nullptr ? Language::kEnglish : info->language);
    const std::string event = net::sse_event(body, "error");
    const Status written = co_await writer_.write(event);
    static_cast<void>(written);
    writer_.abort();  // a clean end would make half an answer look whole
  }

 private:
  // Sent with the first news of the answer, so that an error before it still gets its own status.
  Task<Status> start() {
    if (writer_.is_started()) co_return Status();
    net::Headers headers = net::sse_headers();
    Status started = co_await writer_.start(200, std::move(headers));
    if (!started) co_return started;
    std::string events;
    for (std::uint32_t i = 0; i < head_.n_choices; ++i) {
      events += chunk(i, {{"role", "assistant"}, {"content", ""}}, FinishReason::kNone);
    }
    co_return co_await writer_.write(events);
  }

  std::string chunk(std::uint32_t index, json delta, FinishReason finish) const {
    json choice;
    choice["index"] = index;
    choice["delta"] = std::move(delta);
    choice["logprobs"] = nullptr;
    choice["finish_reason"] = finish_name(finish);
    json body = head_json(head_, "chat.completion.chunk");
    body["seed"] = head_.seed;
    body["choices"] = json::array();
    body["choices"].push_back(std::move(choice));
    if (head_.use_usage_chunk)
      body["usage"] = nullptr;  // present in every chunk, as the reference has it
    return net::sse_event(dump(body));
  }

  const ChatHead head_;
  net::Request& request_;
  net::ResponseWriter& writer_;
};

}  // namespace

std::unique_ptr<ChatSink> make_json_sink(ChatHead head, Api& api, net::Request& request,
                                         net::ResponseWriter& writer) {
  return std::make_unique<JsonSink>(std::move(head), api, request, writer);
}

std::unique_ptr<ChatSink> make_sse_sink(ChatHead head, net::Request& request,
                                        net::ResponseWriter& writer) {
  return std::make_unique<SseSink>(std::move(head), request, writer);
}

}  // namespace deepwell::edge
