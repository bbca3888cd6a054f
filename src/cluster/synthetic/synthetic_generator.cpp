// The synthetic engine's loop.
#include "cluster/synthetic/synthetic_generator.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/concat.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"

namespace deepwell::cluster {

using engine::FinishReason;
using engine::GenerateRequest;
using engine::GenerationEvent;
using engine::GenerationId;
using engine::TokenId;

namespace {

// Generations that are due so close together are served in one step.
constexpr std::chrono::microseconds kTogether{500};
constexpr std::chrono::milliseconds kSignOfLife{1000};

std::uint64_t mix_of(const GenerateRequest& request) {
  std::uint64_t mix = request.sampling.seed * 0x9E3779B97F4A7C15ULL;
  for (const TokenId id : request.prompt) {
    mix = (mix ^ static_cast<std::uint64_t>(id)) * 0x100000001B3ULL;
  }
  return mix;
}

TokenId letter(std::uint64_t mix, std::uint32_t position) {
  mix = (mix + position) * 0x9E3779B97F4A7C15ULL;
  mix ^= mix >> 29;
  return static_cast<TokenId>('a' + mix % 26);
}

}  // namespace

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
  auto running = std::make_unique<Running>();
  if (options_.script) {
    for (const char c : options_.script(request)) {
      running->script.push_back(static_cast<unsigned char>(c));
    }
  }
  running->mix = mix_of(request);
  running->said = std::move(request.generated);
  running->request = std::move(request);
  running->sink = std::move(sink);
  verify(*running);

  const std::lock_guard lock(mutex_);
  if (live_.size() >= options_.n_slots + options_.n_queue) {
    return Error{.code = Code::kResourceExhausted,
                 .message = concat("the queue is full: ", live_.size(), " generations")};
  }
  const GenerationId id = next_id_++;
  running->id = id;
  live_.emplace(id, running.get());
  running->due = std::chrono::steady_clock::now();
  order_.push_back(std::move(running));
  has_arrival_ = true;
  wake_.notify_all();
  return id;
}

void SyntheticGenerator::verify(Running& running) const {
  const std::size_t n_said = running.said.size();
  const std::size_t n_verify = std::min<std::size_t>(running.request.n_verify_tok, n_said);
  for (std::size_t i = n_said - n_verify; i < n_said; ++i) {
    if (running.said[i] != next_token(running, static_cast<std::uint32_t>(i))) {
      ++running.n_mismatched_tok;
    }
  }
}

void SyntheticGenerator::cancel(GenerationId id) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(id);
  if (found == live_.end()) return;
  found->second->is_over = true;
  live_.erase(found);
  has_arrival_ = true;  // a place is free
  wake_.notify_all();
  ++n_cancelled_;
}

Status SyntheticGenerator::force(GenerationId, std::vector<TokenId>) {
  return Error{.code = Code::kUnimplemented, .message = "the synthetic engine cannot be forced"};
}

Status SyntheticGenerator::attach(GenerationId id, std::uint32_t from,
                                  std::shared_ptr<engine::GenerationSink> sink) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(id);
  if (found == live_.end()) return not_found(concat("no generation ", id));
  Running& running = *found->second;
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
  const auto n_all = static_cast<std::uint32_t>(live_.size());
  status.n_running = std::min(n_all, options_.n_slots);
  status.n_waiting = n_all - status.n_running;
  status.n_kv_blocks = options_.n_slots * options_.n_ctx_tok / 16;
  for (const auto& [id, running] : live_) {
    status.n_kv_blocks_used +=
        static_cast<std::uint32_t>((running->n_prompt_tok_done + running->said.size() + 15) / 16);
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
  return letter(mix_of(request), position);
}

TokenId SyntheticGenerator::next_token(const Running& running, std::uint32_t position) const {
  if (!options_.script) return letter(running.mix, position);
  return position < running.script.size() ? running.script[position] : ByteTokenizer::kEnd;
}

void SyntheticGenerator::loop() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    wake_.wait(lock, [this] { return is_stopping_ || (!order_.empty() && !is_stalled_); });
    if (is_stopping_) break;
    const auto due = next_due();
    if (const auto now = std::chrono::steady_clock::now(); due > now) {
      has_arrival_ = false;
      wake_.wait_until(lock, std::min(due, now + kSignOfLife),
                       [this] { return is_stopping_ || is_stalled_ || has_arrival_; });
      ++counters_.n_layers_done;  // it waits for its pace, which is its work
    }
    if (!is_stopping_ && !is_stalled_) step(lock);
  }
}

std::chrono::steady_clock::time_point SyntheticGenerator::next_due() const {
  auto due = std::chrono::steady_clock::time_point::max();
  const std::size_t n_slots = std::min<std::size_t>(order_.size(), options_.n_slots);
  for (std::size_t i = 0; i < n_slots; ++i) {
    if (order_[i]->is_over) return {};  // its place is free: whoever waits may begin
    due = std::min(due, order_[i]->due);
  }
  return due;
}

/// Leaves the names of the step's generations to whoever looks after a crash, and crashes on poison.
void SyntheticGenerator::note_step(const std::vector<Running*>& due) {
  if (options_.crash_page != nullptr) {
    engine::CrashPage& page = *options_.crash_page;
    const auto n = std::min<std::size_t>(due.size(), engine::CrashPage::kMaxTags);
    for (std::size_t i = 0; i < n; ++i) page.tags[i].store(due[i]->request.tag);
    page.n_tags.store(static_cast<std::uint32_t>(n), std::memory_order_release);
  }
  if (!options_.poison_token) return;
  for (const Running* running : due) {
    const auto& prompt = running->request.prompt;
    if (std::find(prompt.begin(), prompt.end(), *options_.poison_token) != prompt.end()) {
      std::abort();
    }
  }
}

// The sinks are called without the lock, as the real engine does; ids cancelled meanwhile are
// simply gone.
void SyntheticGenerator::step(std::unique_lock<std::mutex>& lock) {
  std::erase_if(order_, [](const auto& running) { return running->is_over; });
  std::vector<std::pair<std::shared_ptr<engine::GenerationSink>, GenerationEvent>> news;
  const std::size_t n_slots = std::min<std::size_t>(order_.size(), options_.n_slots);
  const auto now = std::chrono::steady_clock::now();
  std::vector<Running*> due;
  for (std::size_t i = 0; i < n_slots; ++i) {
    if (order_[i]->due <= now + kTogether) due.push_back(order_[i].get());
  }
  note_step(due);
  for (Running* const next : due) {
    Running& running = *next;
    running.due = std::max(now, running.due + options_.pace);
    GenerationEvent event = advance(running);
    counters_.n_generated_tok += event.ids.size();
    if (event.is_last()) {
      running.is_over = true;
      live_.erase(running.id);
    }
    news.emplace_back(running.sink, std::move(event));
  }
  std::erase_if(order_, [](const auto& running) { return running->is_over; });
  if (options_.crash_page != nullptr) options_.crash_page->n_tags.store(0);
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
  event.n_mismatched_tok = std::exchange(running.n_mismatched_tok, 0);
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
  const TokenId id = next_token(running, n_said);
  running.said.push_back(id);
  event.ids.push_back(id);
  const bool is_full = n_said + 1 >= running.request.max_tokens;
  const bool is_said = options_.script && n_said + 1 >= running.script.size();
  if (is_full && !is_said) event.finish = FinishReason::kLength;
  return event;
}

}  // namespace deepwell::cluster
