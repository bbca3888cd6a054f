// The synthetic engine's loop.
#include "service/dialogue/testing/synthetic_generator.hpp"

#include <algorithm>

#include "base/concat.hpp"
#include "service/dialogue/testing/byte_tokenizer.hpp"

namespace deepwell::service::testing {

using engine::FinishReason;
using engine::GenerateRequest;
using engine::GenerationEvent;
using engine::GenerationId;
using engine::TokenId;

SyntheticGenerator::SyntheticGenerator(SyntheticOptions options)
    : options_(std::move(options)), last_step_(std::chrono::steady_clock::now()) {
  description_.name = options_.name;
  description_.fingerprint = options_.fingerprint;
  description_.architecture = "synthetic";
  description_.chat_template =
      options_.chat_template.empty() ? byte_chat_template(false) : options_.chat_template;
  description_.n_ctx_train_tok = options_.n_ctx_tok;
  description_.n_ctx_tok = options_.n_ctx_tok;
  description_.tokenizer = std::make_shared<ByteTokenizer>();
  description_.n_vocab = description_.tokenizer->n_vocab();
  thread_ = std::thread([this] { loop(); });
}

SyntheticGenerator::~SyntheticGenerator() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Result<GenerationId> SyntheticGenerator::submit(GenerateRequest request,
                                                std::shared_ptr<engine::GenerationSink> sink) {
  if (request.prompt.empty()) return invalid_argument("the prompt is empty");
  if (request.prompt.size() > options_.n_ctx_tok) {
    return Error{.code = Code::kOutOfRange,
                 .message = concat("the prompt has ", request.prompt.size(),
                                   " tokens, the context holds ", options_.n_ctx_tok)};
  }
  const std::lock_guard lock(mutex_);
  if (order_.size() >= options_.n_slots + options_.n_queue) {
    return Error{.code = Code::kResourceExhausted,
                 .message = concat("the queue is full: ", order_.size(), " generations")};
  }
  Running running;
  if (options_.script) {
    for (const char c : options_.script(request)) {
      running.script.push_back(static_cast<unsigned char>(c));
    }
  }
  running.said = request.generated;
  running.request = std::move(request);
  running.sink = std::move(sink);
  const GenerationId id = next_id_++;
  running_.emplace(id, std::move(running));
  order_.push_back(id);
  wake_.notify_all();
  return id;
}

void SyntheticGenerator::cancel(GenerationId id) {
  const std::lock_guard lock(mutex_);
  if (running_.erase(id) == 0) return;
  std::erase(order_, id);
  ++n_cancelled_;
}

Status SyntheticGenerator::force(GenerationId, std::vector<TokenId>) {
  return Error{.code = Code::kUnimplemented, .message = "the synthetic engine cannot be forced"};
}

Status SyntheticGenerator::attach(GenerationId id, std::uint32_t from,
                                  std::shared_ptr<engine::GenerationSink> sink) {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  if (found == running_.end()) return not_found(concat("no generation ", id));
  Running& running = found->second;
  running.sink = std::move(sink);
  GenerationEvent past;
  past.position = std::min(from, static_cast<std::uint32_t>(running.said.size()));
  past.ids.assign(running.said.begin() + past.position, running.said.end());
  running.sink->on_event(std::move(past));
  return {};
}

engine::GeneratorStatus SyntheticGenerator::status() const {
  const std::lock_guard lock(mutex_);
  engine::GeneratorStatus status = counters_;
  const auto n_all = static_cast<std::uint32_t>(order_.size());
  status.n_running = std::min(n_all, options_.n_slots);
  status.n_waiting = n_all - status.n_running;
  status.n_kv_blocks = options_.n_slots * options_.n_ctx_tok / 16;
  for (const auto& [id, running] : running_) {
    status.n_kv_blocks_used +=
        static_cast<std::uint32_t>((running.n_prompt_tok_done + running.said.size() + 15) / 16);
  }
  status.last_step_age_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                std::chrono::steady_clock::now() - last_step_)
                                .count();
  return status;
}

void SyntheticGenerator::set_stalled(bool is_stalled) {
  {
    const std::lock_guard lock(mutex_);
    is_stalled_ = is_stalled;
  }
  wake_.notify_all();
}

std::uint32_t SyntheticGenerator::n_cancelled() const {
  const std::lock_guard lock(mutex_);
  return n_cancelled_;
}

TokenId SyntheticGenerator::formula(const GenerateRequest& request, std::uint32_t position) {
  std::uint64_t mix = request.sampling.seed * 0x9E3779B97F4A7C15ULL + position;
  for (const TokenId id : request.prompt) {
    mix = (mix ^ static_cast<std::uint64_t>(id)) * 0x100000001B3ULL;
  }
  mix ^= mix >> 29;
  return static_cast<TokenId>('a' + mix % 26);
}

void SyntheticGenerator::loop() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    wake_.wait(lock, [this] { return is_stopping_ || (!order_.empty() && !is_stalled_); });
    if (is_stopping_) break;
    step(lock);
    if (options_.pace.count() > 0) {
      wake_.wait_for(lock, options_.pace, [this] { return is_stopping_; });
    }
  }
}

// The sinks are called without the lock, as the real engine does; ids cancelled meanwhile are
// simply gone.
void SyntheticGenerator::step(std::unique_lock<std::mutex>& lock) {
  std::vector<std::pair<std::shared_ptr<engine::GenerationSink>, GenerationEvent>> news;
  const std::size_t n_now = std::min<std::size_t>(order_.size(), options_.n_slots);
  std::vector<GenerationId> ended;
  for (std::size_t i = 0; i < n_now; ++i) {
    Running& running = running_.at(order_[i]);
    GenerationEvent event = advance(running);
    counters_.n_generated_tok += event.ids.size();
    if (event.is_last()) ended.push_back(order_[i]);
    news.emplace_back(running.sink, std::move(event));
  }
  for (const GenerationId id : ended) {
    running_.erase(id);
    std::erase(order_, id);
  }
  ++counters_.n_steps;
  ++counters_.n_layers_done;
  last_step_ = std::chrono::steady_clock::now();
  lock.unlock();
  for (auto& [sink, event] : news) sink->on_event(std::move(event));
  news.clear();
  lock.lock();
}

GenerationEvent SyntheticGenerator::advance(Running& running) const {
  GenerationEvent event;
  const auto n_said = static_cast<std::uint32_t>(running.said.size());
  const auto n_prompt = static_cast<std::uint32_t>(running.request.prompt.size());
  event.position = n_said;
  const bool was_prefill = running.n_prompt_tok_done < n_prompt;
  running.n_prompt_tok_done =
      std::min(n_prompt, running.n_prompt_tok_done + options_.n_prefill_tok);
  event.n_prompt_tok_done = running.n_prompt_tok_done;
  if (was_prefill && running.n_prompt_tok_done < n_prompt) return event;

  if (options_.fail_at && n_said >= *options_.fail_at) {
    event.error = internal_error("the synthetic engine was told to fail");
    return event;
  }
  if (options_.script && n_said >= running.script.size()) {
    event.finish = FinishReason::kStop;
    return event;
  }
  if (n_said >= running.request.max_tokens || n_prompt + n_said >= options_.n_ctx_tok) {
    event.finish = FinishReason::kLength;
    return event;
  }
  const TokenId id = options_.script ? running.script[n_said] : formula(running.request, n_said);
  running.said.push_back(id);
  event.ids.push_back(id);
  const bool is_full = n_said + 1 >= running.request.max_tokens;
  const bool is_said = options_.script && n_said + 1 >= running.script.size();
  if (is_full && !is_said) event.finish = FinishReason::kLength;
  return event;
}

}  // namespace deepwell::service::testing
