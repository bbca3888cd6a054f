// Reading and writing the messages of the worker protocol.
#include "cluster/protocol/convert.hpp"

#include "base/concat.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"

namespace deepwell::cluster {

using engine::FinishReason;
using engine::GenerateRequest;
using engine::GenerationEvent;
using engine::TokenId;
using engine::TokenKind;

namespace {

void write_vocabulary(const engine::Vocabulary& vocabulary, proto::Vocabulary& out) {
  out.set_model(vocabulary.model);
  out.set_pre(vocabulary.pre);
  for (const std::string_view token : vocabulary.tokens) out.add_tokens(token.data(), token.size());
  std::string& kinds = *out.mutable_kinds();
  for (const TokenKind kind : vocabulary.kinds) kinds += static_cast<char>(kind);
  for (const std::string_view merge : vocabulary.merges) out.add_merges(merge.data(), merge.size());
  if (vocabulary.bos) out.set_bos(*vocabulary.bos);
  if (vocabulary.eos) out.set_eos(*vocabulary.eos);
  if (vocabulary.eot) out.set_eot(*vocabulary.eot);
  if (vocabulary.eom) out.set_eom(*vocabulary.eom);
  if (vocabulary.pad) out.set_pad(*vocabulary.pad);
  out.mutable_end_ids()->Add(vocabulary.end_ids.begin(), vocabulary.end_ids.end());
  out.set_add_bos(vocabulary.add_bos);
}

Result<engine::Vocabulary> read_vocabulary(const proto::Vocabulary& message) {
  if (message.kinds().size() != static_cast<std::size_t>(message.tokens_size())) {
    return invalid_argument(concat("the worker described ", message.tokens_size(),
                                   " tokens but kinds for ", message.kinds().size()));
  }
  engine::Vocabulary vocabulary;
  vocabulary.model = message.model();
  vocabulary.pre = message.pre();
  for (const std::string& token : message.tokens()) vocabulary.tokens.push_back(token);
  for (const char kind : message.kinds()) {
    if (kind < static_cast<char>(TokenKind::kNormal) ||
        kind > static_cast<char>(TokenKind::kByte)) {
      return invalid_argument(concat("the worker described a token of unknown kind ", int{kind}));
    }
    vocabulary.kinds.push_back(static_cast<TokenKind>(kind));
  }
  for (const std::string& merge : message.merges()) vocabulary.merges.push_back(merge);
  if (message.has_bos()) vocabulary.bos = message.bos();
  if (message.has_eos()) vocabulary.eos = message.eos();
  if (message.has_eot()) vocabulary.eot = message.eot();
  if (message.has_eom()) vocabulary.eom = message.eom();
  if (message.has_pad()) vocabulary.pad = message.pad();
  vocabulary.end_ids.assign(message.end_ids().begin(), message.end_ids().end());
  vocabulary.add_bos = message.add_bos();
  return vocabulary;
}

Result<std::shared_ptr<const engine::Tokenizer>> make_tokenizer(const proto::Vocabulary& message) {
  if (message.model() == ByteTokenizer::kModel) {
    return std::shared_ptr<const engine::Tokenizer>(std::make_shared<ByteTokenizer>());
  }
  DW_ASSIGN(engine::Vocabulary vocabulary, read_vocabulary(message));
  DW_ASSIGN(auto tokenizer, engine::Tokenizer::create(std::move(vocabulary)));
  return std::shared_ptr<const engine::Tokenizer>(std::move(tokenizer));
}

void write_sampling(const engine::SamplingParams& sampling, proto::Sampling& out) {
  out.set_temperature(sampling.temperature);
  out.set_top_k(sampling.top_k);
  out.set_top_p(sampling.top_p);
  out.set_min_p(sampling.min_p);
  out.set_repetition_penalty(sampling.repetition_penalty);
  out.set_frequency_penalty(sampling.frequency_penalty);
  out.set_presence_penalty(sampling.presence_penalty);
  for (const auto& [id, bias] : sampling.logit_bias) {
    out.add_bias_ids(id);
    out.add_bias_values(bias);
  }
  out.set_seed(sampling.seed);
}

Result<engine::SamplingParams> read_sampling(const proto::Sampling& message) {
  if (message.bias_ids_size() != message.bias_values_size()) {
    return invalid_argument(concat("a submission has ", message.bias_ids_size(), " biased ids but ",
                                   message.bias_values_size(), " biases"));
  }
  engine::SamplingParams sampling{.temperature = message.temperature(),
                                  .top_k = message.top_k(),
                                  .top_p = message.top_p(),
                                  .min_p = message.min_p(),
                                  .repetition_penalty = message.repetition_penalty(),
                                  .frequency_penalty = message.frequency_penalty(),
                                  .presence_penalty = message.presence_penalty(),
                                  .seed = message.seed()};
  for (int i = 0; i < message.bias_ids_size(); ++i) {
    sampling.logit_bias.emplace_back(message.bias_ids(i), message.bias_values(i));
  }
  return sampling;
}

}  // namespace

void write_model(const engine::ModelDescription& model, const engine::Vocabulary& vocabulary,
                 proto::ModelInfo& out) {
  out.set_name(model.name);
  out.set_fingerprint(model.fingerprint);
  out.set_architecture(model.architecture);
  out.set_chat_template(model.chat_template);
  out.set_n_params(model.n_params);
  out.set_file_bytes(model.file_bytes);
  out.set_n_vocab(model.n_vocab);
  out.set_n_ctx_train_tok(model.n_ctx_train_tok);
  out.set_n_ctx_tok(model.n_ctx_tok);
  write_vocabulary(vocabulary, *out.mutable_vocabulary());
}

Result<engine::ModelDescription> read_model(proto::ModelInfo message) {
  engine::ModelDescription model;
  DW_ASSIGN(model.tokenizer, make_tokenizer(message.vocabulary()));
  model.name = message.name();
  model.fingerprint = message.fingerprint();
  model.architecture = message.architecture();
  model.chat_template = message.chat_template();
  model.n_params = message.n_params();
  model.file_bytes = message.file_bytes();
  model.n_vocab = message.n_vocab();
  model.n_ctx_train_tok = message.n_ctx_train_tok();
  model.n_ctx_tok = message.n_ctx_tok();
  return model;
}

namespace {

proto::Priority write_priority(engine::Priority priority) {
  switch (priority) {
    case engine::Priority::kBackground:
      return proto::PRIORITY_BACKGROUND;
    case engine::Priority::kLow:
      return proto::PRIORITY_LOW;
    case engine::Priority::kNormal:
      return proto::PRIORITY_NORMAL;
    case engine::Priority::kHigh:
      return proto::PRIORITY_HIGH;
  }
  return proto::PRIORITY_NORMAL;
}

Result<engine::Priority> read_priority(proto::Priority priority) {
  switch (priority) {
    case proto::PRIORITY_BACKGROUND:
      return engine::Priority::kBackground;
    case proto::PRIORITY_LOW:
      return engine::Priority::kLow;
    case proto::PRIORITY_NORMAL:
      return engine::Priority::kNormal;
    case proto::PRIORITY_HIGH:
      return engine::Priority::kHigh;
    default:
      break;
  }
  return invalid_argument(
      concat("a submission has the unknown priority ", static_cast<int>(priority)));
}

}  // namespace

void write_submit(const GenerateRequest& request, std::uint64_t epoch, proto::Submit& out) {
  out.set_tag(request.tag);
  out.set_epoch(epoch);
  out.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
  out.mutable_generated()->Add(request.generated.begin(), request.generated.end());
  write_sampling(request.sampling, *out.mutable_sampling());
  out.set_max_tokens(request.max_tokens);
  out.set_ignore_end(request.ignore_end);
  out.set_tenant(request.tenant);
  out.set_n_verify_tok(request.n_verify_tok);
  out.set_priority(write_priority(request.priority));
  out.set_tenant_weight(request.tenant_weight);
}

Result<GenerateRequest> read_submit(proto::Submit& message) {
  if (message.tag() == 0) return invalid_argument("a submission has no tag");
  GenerateRequest request;
  DW_ASSIGN(request.sampling, read_sampling(message.sampling()));
  request.prompt.assign(message.prompt().begin(), message.prompt().end());
  request.generated.assign(message.generated().begin(), message.generated().end());
  request.max_tokens = message.max_tokens();
  request.ignore_end = message.ignore_end();
  request.tenant = std::move(*message.mutable_tenant());
  request.tag = message.tag();
  request.n_verify_tok = message.n_verify_tok();
  DW_ASSIGN(request.priority, read_priority(message.priority()));
  request.tenant_weight = std::max(1U, message.tenant_weight());
  return request;
}

void write_event(const GenerationEvent& event, std::uint64_t tag, std::uint64_t epoch,
                 proto::Event& out) {
  out.set_tag(tag);
  out.set_epoch(epoch);
  out.set_position(event.position);
  out.mutable_ids()->Add(event.ids.begin(), event.ids.end());
  out.set_finish(static_cast<proto::Finish>(event.finish));
  if (event.error) {
    proto::Failure& failure = *out.mutable_failure();
    failure.set_code(static_cast<std::uint32_t>(event.error->code));
    failure.set_message(event.error->message);
    failure.set_reason(event.error->reason);
    failure.set_field(event.error->field);
  }
  out.set_n_prompt_tok_done(event.n_prompt_tok_done);
  out.set_n_cached_tok(event.n_cached_tok);
  out.set_n_mismatched_tok(event.n_mismatched_tok);
}

Result<GenerationEvent> read_event(const proto::Event& message) {
  GenerationEvent event;
  event.position = message.position();
  event.ids.assign(message.ids().begin(), message.ids().end());
  if (message.finish() < proto::FINISH_NONE || message.finish() > proto::FINISH_LENGTH) {
    return invalid_argument(concat("unknown finish reason ", static_cast<int>(message.finish())));
  }
  event.finish = static_cast<FinishReason>(message.finish());
  if (message.has_failure()) {
    const proto::Failure& failure = message.failure();
    if (failure.code() < static_cast<std::uint32_t>(Code::kCancelled) ||
        failure.code() > static_cast<std::uint32_t>(Code::kUnauthenticated)) {
      return invalid_argument(concat("unknown error code ", failure.code()));
    }
    event.error = Error{static_cast<Code>(failure.code()), failure.message(), failure.reason(),
                        failure.field()};
  }
  event.n_prompt_tok_done = message.n_prompt_tok_done();
  event.n_cached_tok = message.n_cached_tok();
  event.n_mismatched_tok = message.n_mismatched_tok();
  return event;
}

void write_load(const engine::GeneratorStatus& status, proto::Load& out) {
  out.set_n_running(status.n_running);
  out.set_n_waiting(status.n_waiting);
  out.set_n_kv_blocks_used(status.n_kv_blocks_used);
  out.set_n_kv_blocks(status.n_kv_blocks);
  out.set_n_steps(status.n_steps);
  out.set_n_prompt_tok(status.n_prompt_tok);
  out.set_n_generated_tok(status.n_generated_tok);
  out.set_n_preempted(status.n_preempted);
  out.set_n_draft_tok(status.n_draft_tok);
  out.set_n_right_draft_tok(status.n_right_draft_tok);
  out.set_n_blocks_saved(status.n_blocks_saved);
  out.set_n_blocks_loaded(status.n_blocks_loaded);
  out.set_n_blocks_refused(status.n_blocks_refused);
  out.set_kv_disk_bytes(status.kv_disk_bytes);
  out.set_n_layers_done(status.n_layers_done);
  out.set_last_step_age_ms(status.last_step_age_ms);
}

engine::GeneratorStatus read_load(const proto::Load& message) {
  return {.n_running = message.n_running(),
          .n_waiting = message.n_waiting(),
          .n_kv_blocks_used = message.n_kv_blocks_used(),
          .n_kv_blocks = message.n_kv_blocks(),
          .n_steps = message.n_steps(),
          .n_prompt_tok = message.n_prompt_tok(),
          .n_generated_tok = message.n_generated_tok(),
          .n_preempted = message.n_preempted(),
          .n_draft_tok = message.n_draft_tok(),
          .n_right_draft_tok = message.n_right_draft_tok(),
          .n_blocks_saved = message.n_blocks_saved(),
          .n_blocks_loaded = message.n_blocks_loaded(),
          .n_blocks_refused = message.n_blocks_refused(),
          .kv_disk_bytes = message.kv_disk_bytes(),
          .n_layers_done = message.n_layers_done(),
          .last_step_age_ms = message.last_step_age_ms()};
}

}  // namespace deepwell::cluster
