// Rendering, encoding, limits, and the start of a generation.
#include "service/dialogue/dialogue.hpp"

#include <algorithm>
#include <utility>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "service/chat/chat_template.hpp"
#include "service/dialogue/running_answer.hpp"

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

class TemplateDialogue final : public Dialogue {
 public:
  TemplateDialogue(engine::Generator& generator, Executor& pool, ChatTemplate chat_template)
      : generator_(generator), pool_(pool), template_(std::move(chat_template)) {}

  Task<Result<std::unique_ptr<Answer>>> start(Turn turn, Principal principal,
                                              Executor& home) override {
    auto work = [this, &turn, &principal] { return prepare(turn, principal); };
    Result<AnswerPlan> plan = co_await offload(pool_, home, std::move(work));
    if (!plan) co_return std::move(plan).error();
    co_return RunningAnswer::submit(generator_, std::move(*plan), home);
  }

 private:
  // On the pool: rendering and encoding a long conversation takes milliseconds.
  Result<AnswerPlan> prepare(Turn& turn, const Principal& principal) const {
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
    plan.n_choices = turn.n_choices;
    plan.ignore_end = turn.ignore_end;
    plan.stop = std::move(turn.stop);
    plan.reasoning = template_.reasoning_format();
    plan.is_thought_open = prompt.is_thought_open;
    plan.tenant = principal.tenant;
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

  engine::Generator& generator_;
  Executor& pool_;
  const ChatTemplate template_;
};

}  // namespace

Result<std::unique_ptr<Dialogue>> Dialogue::create(engine::Generator& generator, Executor& pool,
                                                   Log& log) {
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
  return std::unique_ptr<Dialogue>(
      std::make_unique<TemplateDialogue>(generator, pool, std::move(chat_template)));
}

}  // namespace deepwell::service
