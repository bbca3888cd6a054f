// The engine's heart: schedule, forward, commit; and the mailbox around it.
#include "engine/runtime/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <utility>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "base/memory.hpp"
#include "engine/model/arch/arch.hpp"
#include "engine/runtime/describe.hpp"
#include "engine/runtime/lap_timer.hpp"
#include "engine/sampling/sampler.hpp"
#include "engine/tokenizer/vocabulary_gguf.hpp"

namespace deepwell::engine {

namespace {

constexpr std::chrono::microseconds kShortWait{500};
constexpr std::chrono::milliseconds kLastSpill{2'000};
constexpr std::uint64_t kStepSpillBytes = 1 << 20;  // copied between two steps, at least a block

std::unique_ptr<BlockSpill> make_spill(const EngineOptions& options, const LoadedModel& model,
                                       const ModelDescription& description, Log& log,
                                       std::function<void()> on_room) {
  if (options.block_store == nullptr) return nullptr;
  return std::make_unique<BlockSpill>(options.block_store,
                                      BlockSpillOptions{.fingerprint = description.fingerprint,
                                                        .block_bytes = model.arena.block_bytes(),
                                                        .on_room = std::move(on_room)},
                                      log);
}

std::unique_ptr<ModelDrafter> make_drafter(const EngineOptions& options, const LoadedModel& model,
                                           std::optional<LoadedModel> draft) {
  if (!draft) return nullptr;
  return std::make_unique<ModelDrafter>(
      std::move(*draft), ModelDrafterOptions{.n_vocab = model.model->hyper.n_vocab,
                                             .is_adaptive = options.draft_model.is_adaptive});
}

std::vector<TokenId> end_ids_of(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (std::uint32_t t = 0; t < tokenizer.n_vocab(); ++t) {
    if (tokenizer.is_end(static_cast<TokenId>(t))) ids.push_back(static_cast<TokenId>(t));
  }
  return ids;
}

std::size_t hash_of(const std::string& tenant) { return std::hash<std::string>()(tenant); }

std::int64_t steady_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(EngineOptions options, Log& log) {
  options.load.n_sequences =
      std::max(1U, options.n_longest == 0 ? options.n_parallel : options.n_longest);
  if (options.crash_page != nullptr) options.crash_page->end_step();  // no step runs yet
  // A step must hold a row of everybody who decodes, and still some of a prompt.
  options.load.n_min_rows = options.n_parallel + options.n_mixed_budget_tok;
  if (options.load.log == nullptr) options.load.log = &log;
  if (options.load.content_sha256.empty()) options.load.content_sha256 = options.content_sha256;
  DW_ASSIGN(std::optional<LoadedModel> draft, load_draft_model(options.draft_model, options.load));
  if (draft) leave_room_for(*draft, options.load);
  DW_ASSIGN(LoadedModel model, LoadedModel::load(options.load));
  LapTimer timer(log, "describe");
  DW_ASSIGN(ModelDescription description,
            describe_model(options.name, model.content_sha256, model));
  std::vector<TokenId> end_ids = end_ids_of(*description.tokenizer);
  if (!options.keeps_tokenizer) description.tokenizer.reset();
  release_free_memory();  // of the making of the tokenizer
  timer.lap("vocabulary and tokenizer");
  return std::unique_ptr<Engine>(new Engine(std::move(options), log, std::move(model),
                                            std::move(draft), std::move(description),
                                            std::move(end_ids)));
}

Engine::Engine(EngineOptions options, Log& log, LoadedModel model, std::optional<LoadedModel> draft,
               ModelDescription description, std::vector<TokenId> end_ids)
    : options_(std::move(options)),
      log_(log),
      model_(std::move(model)),
      description_(std::move(description)),
      end_ids_(std::move(end_ids)),
      spill_(make_spill(options_, model_, description_, log_, [this] { note_spill_room(); })),
      cache_(model_.arena, model_.blocks, description_.fingerprint, spill_.get()),
      drafter_(make_drafter(options_, model_, std::move(draft))),
      scheduler_({.n_parallel = options_.n_parallel,
                  .n_max_rows = model_.device->n_max_rows(),
                  .n_ctx_tok = model_.n_ctx_tok,
                  .max_slowdown = options_.max_slowdown,
                  .n_mixed_budget_tok = options_.n_mixed_budget_tok,
                  .n_max_draft_tok = options_.n_max_draft_tok},
                 model_.blocks, &cache_, drafter_.get()),
      last_step_ms_(steady_ms()),
      thread_([this] { thread_main(); }) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    is_step_unwanted_.store(true, std::memory_order_relaxed);
  }
  has_mail_.notify_one();
  thread_.join();
  spill_.reset();  // its thread calls note_spill_room()
}

// --- other threads ---------------------------------------------------------------------------------------------------

Status Engine::check(const GenerateRequest& request) const {
  if (request.prompt.empty()) return invalid_argument("the prompt is empty");
  const auto is_out = [&](TokenId id) {
    return id < 0 || static_cast<std::uint32_t>(id) >= description_.n_vocab;
  };
  for (const auto* ids : {&request.prompt, &request.generated}) {
    const auto it = std::find_if(ids->begin(), ids->end(), is_out);
    if (it != ids->end()) {
      return invalid_argument(
          concat("token id ", *it, " is outside the vocabulary of ", description_.n_vocab));
    }
  }
  const std::size_t n_tok = request.prompt.size() + request.generated.size();
  // An answer that had filled the context may come back after its last token: it ends at once.
  const bool needs_room = request.max_tokens > 0 && request.generated.empty();
  if (n_tok + (needs_room ? 1 : 0) > model_.n_ctx_tok) {
    return Error{Code::kOutOfRange,
                 concat("the prompt has ", request.prompt.size(), " tokens, but the context holds ",
                        model_.n_ctx_tok, " including the answer; shorten it or raise --ctx-size")};
  }
  return validate(request.sampling, description_.n_vocab);
}

Result<GenerationId> Engine::submit(GenerateRequest request, std::shared_ptr<GenerationSink> sink) {
  DW_TRY(check(request));
  auto sequence = std::make_unique<Sequence>();
  sequence->n_prompt = static_cast<std::uint32_t>(request.prompt.size());
  sequence->tokens = std::move(request.prompt);
  sequence->tokens.insert(sequence->tokens.end(), request.generated.begin(),
                          request.generated.end());
  sequence->n_counted = sequence->n_prompt;
  sequence->n_known = sequence->n_tokens();
  sequence->verify_begin =
      sequence->n_known - std::min(request.n_verify_tok, sequence->n_generated());
  sequence->request = std::move(request);
  sequence->sink = std::move(sink);
  GenerationId id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (live_.size() >= options_.n_parallel + options_.n_max_waiting) {
      return Error{Code::kResourceExhausted,
                   concat("the queue is full: ", options_.n_parallel, " answers running and ",
                          options_.n_max_waiting, " waiting; try again later")};
    }
    id = ++last_id_;
    sequence->id = id;
    if (is_step_in_the_way_of(sequence->request))
      is_step_unwanted_.store(true, std::memory_order_relaxed);
    live_.insert(id);
    mailbox_.emplace_back(std::move(sequence));
  }
  has_mail_.notify_one();
  return id;
}

Status Engine::post_to_live(GenerationId id, CommandMessage message) {
  {
    const std::lock_guard lock(mutex_);
    if (!live_.contains(id)) return not_found(concat("generation ", id, " has ended or never was"));
    mailbox_.push_back(std::move(message));
  }
  has_mail_.notify_one();
  return {};
}

void Engine::cancel(GenerationId id) {
  {
    const std::lock_guard lock(mutex_);
    if (!live_.contains(id)) return;
    mailbox_.emplace_back(Cancel{id});
    if (std::erase(wanted_, id) > 0 && wanted_.empty())
      is_step_unwanted_.store(true, std::memory_order_relaxed);
  }
  has_mail_.notify_one();
}

Status Engine::force(GenerationId id, std::vector<TokenId> ids) {
  for (const TokenId token : ids) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= description_.n_vocab) {
      return invalid_argument(
          concat("token id ", token, " is outside the vocabulary of ", description_.n_vocab));
    }
  }
  return post_to_live(id, Force{id, std::move(ids)});
}

Status Engine::attach(GenerationId id, std::uint32_t from, std::shared_ptr<GenerationSink> sink) {
  return post_to_live(id, Attach{id, from, std::move(sink)});
}

Result<Vocabulary> Engine::vocabulary() const { return read_vocabulary(*model_.model->file); }

GeneratorStatus Engine::status() const {
  const std::uint64_t n_draft_layers = drafter_ ? drafter_->model().device->n_layers_done() : 0;
  const BlockSpillCounters spilled = spill_ != nullptr ? spill_->counters() : BlockSpillCounters();
  return {.n_running = n_running_.load(),
          .n_waiting = n_waiting_.load(),
          .n_kv_blocks_used = n_blocks_used_.load(),
          .n_kv_blocks = model_.blocks.n_blocks(),
          .n_steps = n_steps_.load(),
          .n_prompt_tok = n_prompt_tok_.load(),
          .n_generated_tok = n_generated_tok_.load(),
          .n_preempted = n_preempted_.load(),
          .n_draft_tok = n_draft_tok_.load(),
          .n_right_draft_tok = n_right_draft_tok_.load(),
          .n_blocks_saved = spilled.n_saved,
          .n_blocks_loaded = spilled.n_loaded,
          .n_blocks_refused = spilled.n_refused,
          .kv_disk_bytes = spilled.used_bytes,
          .n_layers_done = model_.device->n_layers_done() + n_draft_layers,
          .last_step_age_ms = steady_ms() - last_step_ms_.load()};
}

void Engine::note_spill_room() {
  {
    const std::lock_guard lock(mutex_);
    has_spill_room_ = true;
  }
  has_mail_.notify_one();
}

// --- the engine's thread ---------------------------------------------------------------------------------------------

void Engine::thread_main() {
  const auto n_step_copies = static_cast<std::uint32_t>(
      std::max<std::uint64_t>(1, kStepSpillBytes / model_.arena.block_bytes()));
  Wait wait = Wait::kLong;
  while (take_commands(wait)) {
    bool has_step = false;
    try {
      has_step = run_step();
      cache_.spill(is_idle() ? UINT32_MAX : n_step_copies);
    } catch (const std::exception& e) {
      end_step();
      log_.error("engine step failed: ", e.what());
      fail_all(internal_error(concat("the engine failed: ", e.what(), "; try again")));
    }
    if (is_idle()) {
      wait = cache_.has_to_spill() && spill_->can_keep() ? Wait::kNone : Wait::kLong;
    } else {
      wait = has_step ? Wait::kNone : Wait::kShort;
    }
    publish();
  }
  fail_all(unavailable("the engine is shutting down"));
  publish();
  DW_CHECK(scheduler_.n_blocks_used() == 0 && cache_.check_integrity(),
           "whoever took blocks gave them back, and their names are true");
  spill_last_blocks();
}

/// False if there was nothing to compute.
bool Engine::run_step() {
  if (!scheduler_.schedule(batch_, pieces_, steady_ms())) return false;
  const bool is_begun = begin_step() && scheduler_.guess(batch_, pieces_, &is_step_unwanted_);
  const auto start = std::chrono::steady_clock::now();
  const bool is_done = is_begun && model_.forward(batch_, &is_step_unwanted_);
  if (is_done) {
    scheduler_.note_time(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    scheduler_.charge(pieces_);
    commit();
  }
  end_step();
  was_abandoned_ = !is_done;
  return true;
}

void Engine::spill_last_blocks() {
  const auto end = std::chrono::steady_clock::now() + kLastSpill;
  while (cache_.has_to_spill() && std::chrono::steady_clock::now() < end) {
    cache_.spill(UINT32_MAX);
    if (cache_.has_to_spill()) std::this_thread::sleep_for(kShortWait);
  }
}

/// Waits for mail if there is nothing else to do. False once the engine stops.
bool Engine::take_commands(Wait wait) {
  std::vector<CommandMessage> commands;
  bool goes_on = true;
  {
    std::unique_lock lock(mutex_);
    const auto has_news = [this] { return is_stopping_ || has_spill_room_ || !mailbox_.empty(); };
    if (wait == Wait::kLong) has_mail_.wait(lock, has_news);
    if (wait == Wait::kShort) has_mail_.wait_for(lock, kShortWait, has_news);
    goes_on = !is_stopping_;
    has_spill_room_ = false;
    commands.swap(mailbox_);  // when stopping too: whoever was queued must hear of it
  }
  if (wait != Wait::kNone) last_step_ms_.store(steady_ms());  // nobody waited for a step until now
  for (CommandMessage& command : commands) {
    std::visit([this](auto& message) { handle(std::move(message)); }, command);
  }
  publish();
  return goes_on;
}

void Engine::handle(Submit sequence) {
  const std::uint32_t max_tokens = sequence->request.max_tokens;
  const bool is_complete = max_tokens > 0 && (sequence->n_generated() >= max_tokens ||
                                              sequence->n_tokens() >= model_.n_ctx_tok);
  Sequence& added = *sequence;
  scheduler_.add(std::move(sequence), steady_ms());
  if (is_complete) finish(added, FinishReason::kLength, std::nullopt, {});
}

void Engine::handle(Cancel cancel) {
  if (scheduler_.remove(cancel.id) != nullptr) forget(cancel.id);
}

void Engine::handle(Force force) {
  Sequence* sequence = scheduler_.find(force.id);
  if (sequence == nullptr || force.ids.empty()) return;
  const std::uint32_t max_tokens = sequence->request.max_tokens;
  const std::size_t room = std::min(model_.n_ctx_tok - sequence->n_tokens(),
                                    max_tokens - std::min(max_tokens, sequence->n_generated()));
  if (force.ids.size() >= room) {
    finish(*sequence, FinishReason::kNone,
           Error{Code::kOutOfRange,
                 concat(force.ids.size(), " forced tokens leave no room for an answer")},
           {});
    return;
  }
  const std::uint32_t position = sequence->n_generated();
  sequence->tokens.insert(sequence->tokens.end(), force.ids.begin(), force.ids.end());
  sequence->sink->on_event(news_of(*sequence, position, std::move(force.ids)));
}

void Engine::handle(Attach attach) {
  Sequence* sequence = scheduler_.find(attach.id);
  if (sequence == nullptr) {  // it ended between attach() and now: the new reader must hear so
    attach.sink->on_event({.position = attach.from,
                           .error = not_found(concat("generation ", attach.id, " has ended"))});
    return;
  }
  sequence->sink = std::move(attach.sink);
  const auto generated = sequence->generated();
  const auto from = std::min(attach.from, sequence->n_generated());
  sequence->sink->on_event(news_of(*sequence, from, {generated.begin() + from, generated.end()}));
}

/// Whether somebody came for whom the step that is to begin is in the way. The caller holds mutex_.
bool Engine::has_better_mail() const {
  return std::any_of(mailbox_.begin(), mailbox_.end(), [this](const CommandMessage& message) {
    const auto* submit = std::get_if<Submit>(&message);
    return submit != nullptr && is_step_in_the_way_of((*submit)->request);
  });
}

/// Whether the running step shall end at once for this request. The caller holds mutex_.
bool Engine::is_step_in_the_way_of(const GenerateRequest& request) const {
  if (request.priority == Priority::kBackground) return false;
  if (is_background_step_) return true;
  return gives_way_ && std::find(step_tenants_.begin(), step_tenants_.end(),
                                 hash_of(request.tenant)) == step_tenants_.end();
}

/// Names the step's sequences to cancel() and to the crash page. False if nobody wants it by now.
bool Engine::begin_step() {
  {
    const std::lock_guard lock(mutex_);
    wanted_.clear();
    for (const StepPiece& piece : pieces_) wanted_.push_back(piece.sequence->id);
    for (const CommandMessage& message : mailbox_) {
      if (const auto* cancel = std::get_if<Cancel>(&message)) std::erase(wanted_, cancel->id);
    }
    is_background_step_ = scheduler_.is_background();
    // Never two steps in a row: whoever is in them would not get on.
    gives_way_ = !was_abandoned_ && scheduler_.is_in_the_way_of_newcomers();
    step_tenants_.clear();
    if (gives_way_) {
      for (const StepPiece& piece : pieces_)
        step_tenants_.push_back(hash_of(piece.sequence->request.tenant));
    }
    const bool has_better = has_better_mail();
    is_step_unwanted_.store(wanted_.empty() || is_stopping_ || has_better,
                            std::memory_order_relaxed);
    if (wanted_.empty() || has_better) return false;
  }
  if (options_.crash_page != nullptr) {
    step_tags_.clear();
    for (const StepPiece& piece : pieces_) step_tags_.push_back(piece.sequence->request.tag);
    options_.crash_page->begin_step(step_tags_);
  }
  return true;
}

/// Also after a step that was abandoned: nothing of it was committed, and nobody waits for it.
void Engine::end_step() {
  if (options_.crash_page != nullptr) options_.crash_page->end_step();
  const std::lock_guard lock(mutex_);
  wanted_.clear();
  is_background_step_ = gives_way_ = false;
  step_tenants_.clear();
}

void Engine::abort_if_poisoned() const {
  if (!options_.poison_token) return;
  for (const StepPiece& piece : pieces_) {
    const Sequence& sequence = *piece.sequence;
    const std::uint32_t end = std::min(sequence.n_computed + piece.n_tok, sequence.n_prompt);
    for (std::uint32_t t = sequence.n_computed; t < end; ++t) {
      if (sequence.tokens[t] == *options_.poison_token) std::abort();
    }
  }
}

void Engine::commit() {
  abort_if_poisoned();
  n_steps_.fetch_add(1, std::memory_order_relaxed);
  last_step_ms_.store(steady_ms());
  // Finishing a sequence invalidates nothing here: a piece is visited once, and its sequence lives until then.
  for (const StepPiece& piece : pieces_) {
    Sequence& sequence = *piece.sequence;
    const std::uint32_t n_known_left =
        sequence.n_known - std::min(sequence.n_known, sequence.n_computed);
    n_prompt_tok_.fetch_add(std::min(piece.n_tok, n_known_left), std::memory_order_relaxed);
    sequence.n_computed += piece.n_tok;
    cache_.commit(sequence);  // before anybody hears of a token that only these blocks can follow
    if (Status verified = verify(sequence, piece); !verified) {
      finish(sequence, FinishReason::kNone, std::move(verified).error(), {});
    } else if (piece.has_output) {
      commit_tokens(sequence, piece);
    } else if (sequence.n_pending() == 0) {  // max_tokens = 0: the prompt was all
      finish(sequence, FinishReason::kLength, std::nullopt, {});
    } else {
      sequence.sink->on_event(news_of(sequence, sequence.n_generated(), {}));
    }
  }
}

/// The token at `position`, which an earlier attempt may have chosen already.
Result<TokenId> Engine::choose(Sequence& sequence, std::uint32_t output_row,
                               std::uint32_t position) {
  for (; sequence.n_counted < position; ++sequence.n_counted)
    sequence.generated_counts.add(sequence.tokens[sequence.n_counted]);
  return sample_token({.logits = model_.logits(output_row),
                       .params = sequence.request.sampling,
                       .generated = sequence.generated_counts,
                       .position = position},
                      sampler_scratch_);
}

/// Rule 10: chooses known ids anew and counts those that come out otherwise. They stay as they are: the reader has
/// them already.
Status Engine::verify(Sequence& sequence, const StepPiece& piece) {
  const std::uint32_t n_rows = piece.n_outputs - piece.n_draft;
  const std::uint32_t first = sequence.n_computed - n_rows + 1;
  for (std::uint32_t i = 0; i < n_rows && first + i < sequence.n_known; ++i) {
    DW_ASSIGN(const TokenId token, choose(sequence, piece.output_row + i, first + i));
    if (token != sequence.tokens[first + i]) ++sequence.n_mismatched;
  }
  return {};
}

/// Adds a chosen token. False if the sequence has ended, with or without this one.
bool Engine::append(Sequence& sequence, TokenId token, FinishReason& finish) const {
  const GenerateRequest& request = sequence.request;
  const bool is_end = std::find(end_ids_.begin(), end_ids_.end(), token) != end_ids_.end();
  if (is_end && !request.ignore_end) {
    finish = FinishReason::kStop;
    return false;
  }
  sequence.tokens.push_back(token);
  if (sequence.n_generated() >= request.max_tokens || sequence.n_tokens() >= model_.n_ctx_tok)
    finish = FinishReason::kLength;
  return finish == FinishReason::kNone;
}

/// Chooses the token that follows a sequence's newest one, and while that is what was guessed, the next: the guess's
/// row was computed as if it had been known.
void Engine::commit_tokens(Sequence& sequence, const StepPiece& piece) {
  const std::uint32_t position = sequence.n_generated();
  const std::uint32_t first_row = piece.output_row + piece.n_outputs - 1 - piece.n_draft;
  FinishReason finish_reason = FinishReason::kNone;
  std::optional<Error> error;
  std::uint32_t n_right = 0;
  for (bool goes_on = true; goes_on;) {
    const Result<TokenId> token = choose(sequence, first_row + n_right, sequence.n_tokens());
    if (!token) {
      error = token.error();
      break;
    }
    goes_on = append(sequence, *token, finish_reason) && n_right < piece.n_draft &&
              *token == sequence.draft[n_right];
    if (goes_on) ++n_right;
  }
  scheduler_.note_guesses(piece, n_right);
  n_draft_tok_.fetch_add(piece.n_draft, std::memory_order_relaxed);
  n_right_draft_tok_.fetch_add(n_right, std::memory_order_relaxed);
  sequence.n_computed += n_right;
  cache_.commit(sequence);
  const auto new_ids = sequence.generated().subspan(position);
  n_generated_tok_.fetch_add(new_ids.size(), std::memory_order_relaxed);
  std::vector<TokenId> ids(new_ids.begin(), new_ids.end());
  if (finish_reason != FinishReason::kNone || error) {
    finish(sequence, finish_reason, std::move(error), std::move(ids));
  } else {
    sequence.sink->on_event(news_of(sequence, position, std::move(ids)));
  }
}

GenerationEvent Engine::news_of(Sequence& sequence, std::uint32_t position,
                                std::vector<TokenId> ids) {
  return {.position = position,
          .ids = std::move(ids),
          .n_prompt_tok_done = std::min(sequence.n_computed, sequence.n_prompt),
          .n_cached_tok = sequence.n_cached,
          .n_mismatched_tok = std::exchange(sequence.n_mismatched, 0)};
}

/// The last event; frees everything. `last_ids` are already part of the sequence.
void Engine::finish(Sequence& sequence, FinishReason reason, std::optional<Error> error,
                    std::vector<TokenId> last_ids) {
  const auto n_last = static_cast<std::uint32_t>(last_ids.size());
  GenerationEvent event = news_of(sequence, sequence.n_generated() - n_last, std::move(last_ids));
  event.finish = reason;
  event.error = std::move(error);
  const std::unique_ptr<Sequence> removed = scheduler_.remove(sequence.id);
  forget(removed->id);
  removed->sink->on_event(std::move(event));
}

void Engine::forget(GenerationId id) {
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

void Engine::fail_all(const Error& error) {
  while (Sequence* sequence = scheduler_.any()) finish(*sequence, FinishReason::kNone, error, {});
}

void Engine::publish() {
  n_running_.store(scheduler_.n_running());
  n_waiting_.store(scheduler_.n_waiting());
  n_blocks_used_.store(scheduler_.n_blocks_used());
  n_preempted_.store(scheduler_.n_preempted());
}

}  // namespace deepwell::engine
