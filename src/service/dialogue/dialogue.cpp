// Rendering, encoding, limits, and the start of a generation.
#include "service/dialogue/dialogue.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/ids.hpp"
#include "service/chat/chat_template.hpp"
#include "service/dialogue/answer_book.hpp"
#include "service/dialogue/answer_reader.hpp"
#include "service/dialogue/turn_cache.hpp"

namespace deepwell::service {

namespace {

Error too_long(std::size_t n_prompt, std::uint32_t n_ctx) {
  return {.code = Code::kOutOfRange,
          .message = concat("the conversation has ", n_prompt,
                            " tokens, but this server's context holds ", n_ctx,
                            " tokens, the answer included: shorten the messages, or start the "
                            "server with a larger --ctx-size"),
          .reason = std::string(kReasonContextLength),
          .field = "messages"};
}

Status check_biases(const engine::SamplingParams& sampling, std::uint32_t n_vocab) {
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (id >= 0 && std::cmp_less(id, n_vocab)) continue;
    return Error{.code = Code::kInvalidArgument,
                 .message = concat("logit_bias: token ", id, " is not in the vocabulary of ",
                                   n_vocab, " tokens"),
                 .field = "logit_bias"};
  }
  return {};
}

// The generator's own queue may be shorter than the gate knows.
Error refusal(Error error) {
  if (error.code == Code::kResourceExhausted && error.reason.empty()) {
    error.code = Code::kUnavailable;
    error.reason = kReasonQueueFull;
  }
  return error;
}

class TemplateDialogue final : public Dialogue {
 public:
  TemplateDialogue(engine::Generator& generator, Executor& pool, ChatTemplate chat_template,
                   std::shared_ptr<QueueGate> gate, std::shared_ptr<AnswerBook> book,
                   std::shared_ptr<TurnCache> turn_cache)
      : generator_(generator),
        pool_(pool),
        template_(std::move(chat_template)),
        gate_(std::move(gate)),
        book_(std::move(book)),
        turn_cache_(std::move(turn_cache)) {}

  ~TemplateDialogue() override {
    if (turn_cache_) turn_cache_->close();
    book_->close();
  }

  Task<Result<std::unique_ptr<Answer>>> start(Turn turn, Ask ask, Principal principal,
                                              Executor& home) override {
    const bool has_key = !ask.idempotency_key.empty();
    if (has_key) {
      auto found =
          co_await book_->enter_key(principal.tenant, ask.idempotency_key, ask.request_hash, home);
      if (!found) co_return std::move(found).error();
      if (*found) co_return read(std::move(*found), std::nullopt, principal, home);
    }
    const std::string key = ask.idempotency_key;
    auto ticket = gate_->enter(principal.tenant, turn.n_choices);
    Result<std::shared_ptr<LiveAnswer>> begun = Error{};
    if (ticket) {
      auto work = [this, &turn, &ask, &principal, &ticket] {
        return begin(turn, ask, principal, std::move(*ticket));
      };
      begun = co_await offload(pool_, home, std::move(work));
    } else {
      begun = std::move(ticket).error();
    }
    if (!begun) {
      if (has_key) book_->release_key(principal.tenant, key);
      co_return refusal(std::move(begun).error());
    }
    co_return read(std::move(*begun), std::nullopt, principal, home);
  }

  Task<Result<std::unique_ptr<Answer>>> attach(std::string id, CursorOf cursor_of,
                                               Principal principal, Executor& home) override {
    auto found = co_await book_->find(std::move(id), home);
    if (!found) co_return std::move(found).error();
    ++n_attached_;
    co_return read(std::move(*found), std::move(cursor_of), principal, home);
  }

  void interrupt(const Error& error) override { book_->interrupt(error); }
  Congestion congestion() const override { return gate_->congestion(); }

  DialogueStats stats() const override {
    const AnswerBookStats book = book_->stats();
    const TurnCacheStats turns = turn_cache_ ? turn_cache_->stats() : TurnCacheStats{};
    return {.n_live = book.n_live,
            .n_readers = book.n_readers,
            .n_attached = n_attached_.load(),
            .n_taken_over = book.n_taken_over,
            .n_abandoned = book.n_abandoned,
            .n_turns_prepared = turns.n_computed,
            .n_turns_interrupted = turns.n_interrupted};
  }

 private:
  Result<std::unique_ptr<Answer>> read(std::shared_ptr<LiveAnswer> answer,
                                       std::optional<CursorOf> cursor_of,
                                       const Principal& principal, Executor& home) const {
    const AnswerOrigin& origin = answer->origin();
    // Whoever acts for the tenant that asked, may. For all others it does not exist: knowing an id is
    // not permission.
    if (origin.tenant != principal.tenant) {
      return not_found(concat("no stream ", answer->info().id));
    }
    Cursor cursor = cursor_at_start(answer->info().n_choices);
    if (cursor_of) {
      DW_ASSIGN(cursor, (*cursor_of)(answer->info().n_choices));
      DW_TRY(answer->check(cursor));
    }
    return std::unique_ptr<Answer>(
        std::make_unique<AnswerReader>(std::move(answer), cursor, home, book_->reader_count()));
  }

  Result<std::shared_ptr<LiveAnswer>> begin(Turn& turn, Ask& ask, const Principal& principal,
                                            QueueTicket ticket) const {
    if (!turn_cache_) return begin_alone(turn, ask, principal, std::move(ticket));
    const std::string id = ask.id;
    turn_cache_->begin(id, conversation_of(turn, principal));
    auto begun = begin_alone(turn, ask, principal, std::move(ticket));
    if (!begun) turn_cache_->drop(id);
    return begun;
  }

  static Conversation conversation_of(const Turn& turn, const Principal& principal) {
    return {.messages = turn.messages,
            .enable_thinking = turn.enable_thinking,
            .template_variables = turn.template_variables,
            .tenant = principal.tenant};
  }

  Result<std::shared_ptr<LiveAnswer>> begin_alone(Turn& turn, Ask& ask, const Principal& principal,
                                                  QueueTicket ticket) const {
    DW_ASSIGN(AnswerPlan plan, prepare(turn));
    plan.is_streamed = ask.is_streamed;
    plan.use_usage_chunk = ask.use_usage_chunk;
    plan.use_service_tier = ask.use_service_tier;
    StreamRecord record;
    record.id = std::move(ask.id);
    record.tenant = principal.tenant;
    record.owner = principal.subject;
    record.model = std::move(ask.model);
    record.created_unix_s = wall_clock_s();
    record.idempotency_key = std::move(ask.idempotency_key);
    record.request_hash = std::move(ask.request_hash);
    return book_->begin(std::move(record), std::move(plan), std::move(ticket));
  }

  // On the pool: rendering and encoding a long conversation takes milliseconds.
  Result<AnswerPlan> prepare(Turn& turn) const {
    const engine::ModelDescription& model = generator_.describe();
    DW_TRY(check_biases(turn.sampling, model.n_vocab));
    DW_ASSIGN(const RenderedPrompt prompt, render(turn));
    AnswerPlan plan;
    plan.prompt = model.tokenizer->encode_spans(prompt.views());
    const std::size_t n_prompt = plan.prompt.size();
    if (n_prompt + 1 > model.n_ctx_tok) return too_long(n_prompt, model.n_ctx_tok);

    const auto n_room = static_cast<std::uint32_t>(model.n_ctx_tok - n_prompt);
    plan.max_tokens = std::min(turn.max_tokens.value_or(n_room), n_room);
    plan.sampling = std::move(turn.sampling);
    plan.sampling.seed = turn.seed ? *turn.seed : draw_seed();
    for (std::uint32_t i = 0; i < turn.n_choices; ++i) plan.tags.push_back(draw_tag());
    plan.ignore_end = turn.ignore_end;
    plan.priority = turn.priority;
    plan.stop = std::move(turn.stop);
    plan.reasoning = template_.reasoning_format();
    plan.is_thought_open = prompt.is_thought_open;
    return plan;
  }

  Result<RenderedPrompt> render(Turn& turn) const {
    ChatInput input;
    input.messages = std::move(turn.messages);
    input.enable_thinking = turn.enable_thinking;
    input.variables = std::move(turn.template_variables);
    DW_ASSIGN(RenderedPrompt prompt, template_.render(input));
    if (prompt.is_thought_open && turn.enable_thinking == false) {
      // The template has no switch: an empty thought, closed, is what its model takes for "do not think".
      const std::string_view close = template_.reasoning_format().value_or(kThinkTags).close;
      prompt.spans.push_back({.text = concat("\n", close, "\n\n"), .is_trusted = true});
      prompt.is_thought_open = false;
    }
    return prompt;
  }

  // 53 bits, so that the seed survives a client's double.
  static std::uint64_t draw_seed() { return random_u64() >> 11; }
  static std::uint64_t draw_tag() { return std::max<std::uint64_t>(random_u64(), 1); }

  engine::Generator& generator_;
  Executor& pool_;
  const ChatTemplate template_;
  const std::shared_ptr<QueueGate> gate_;        // owners: this, the book, tickets
  const std::shared_ptr<AnswerBook> book_;       // owners: this, live answers, calls of the store
  const std::shared_ptr<TurnCache> turn_cache_;  // null: off; owners: this, the book, its own work
  std::atomic<std::uint64_t> n_attached_ = 0;
};

AnswerBookOptions book_options(DialogueOptions& options, std::shared_ptr<QueueGate> gate,
                               std::shared_ptr<TurnCache> turn_cache) {
  AnswerBookOptions book;
  book.front_id = options.front_id.empty() ? random_id("front-") : std::move(options.front_id);
  book.dead_fronts = std::move(options.dead_fronts);
  book.reattach_grace = options.reattach_grace;
  book.lease = options.lease;
  book.survives_process = options.survives_process;
  book.gate = std::move(gate);
  book.tenant_weights = std::move(options.tenant_weights);
  book.on_end = [on_end = std::move(options.on_end), turn_cache](const LiveAnswer& answer) {
    if (turn_cache) turn_cache->end(answer);
    if (!on_end) return;
    on_end({.tenant = answer.origin().tenant,
            .usage = answer.usage(),
            .is_continued = answer.is_continued()});
  };
  return book;
}

}  // namespace

Result<std::unique_ptr<Dialogue>> Dialogue::create(engine::Generator& generator, Executor& pool,
                                                   Store& store, Log& log,
                                                   DialogueOptions options) {
  const engine::ModelDescription& model = generator.describe();
  const auto spelling = [&model](const std::optional<engine::TokenId>& id) {
    return id ? model.tokenizer->token_bytes(*id, true) : std::string();
  };
  const engine::Vocabulary& vocabulary = model.tokenizer->vocabulary();
  DW_ASSIGN(auto chat_template, ChatTemplate::parse(model.chat_template, spelling(vocabulary.bos),
                                                    spelling(vocabulary.eos)));
  if (chat_template.is_default()) {
    log.warn("model '", model.name,
             "' has no chat template: ChatML stands in, its answers may be poor");
  }
  const auto gate = std::make_shared<QueueGate>(options.queue);
  std::shared_ptr<TurnCache> turn_cache;
  if (options.use_turn_cache) {
    turn_cache = std::make_shared<TurnCache>(generator, pool, chat_template);
  }
  auto book =
      AnswerBook::create(generator, pool, store, log, book_options(options, gate, turn_cache));
  book->take_over();
  return std::unique_ptr<Dialogue>(std::make_unique<TemplateDialogue>(
      generator, pool, std::move(chat_template), gate, std::move(book), std::move(turn_cache)));
}

}  // namespace deepwell::service
