// Engine: a Generator that runs the model in this process, on one thread of its own.
//
//   DW_ASSIGN(auto engine, Engine::open({.load = {.path = "model.gguf"}, .name = "my-model"}, log));
//   DW_ASSIGN(auto id, engine->submit({.prompt = ids, .max_tokens = 64}, sink));
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/log.hpp"
#include "engine/runtime/block_spill.hpp"
#include "engine/runtime/crash_page.hpp"
#include "engine/runtime/draft_model.hpp"
#include "engine/runtime/generator.hpp"
#include "engine/runtime/loaded_model.hpp"
#include "engine/runtime/scheduler.hpp"
#include "engine/sampling/sampler.hpp"

namespace deepwell::engine {

struct EngineOptions {
  LoadOptions load;
  std::string name;  // what users call the model
  std::string
      content_sha256;  // of the model file, for the fingerprint; empty: the file is hashed here
  std::uint32_t n_parallel = 16;      // sequences running at once
  std::uint32_t n_longest = 0;        // of the longest sequence so many fit at once; 0: n_parallel
  std::uint32_t n_max_waiting = 256;  // queued beyond them; more are refused
  std::uint32_t n_mixed_budget_tok = 128;  // see SchedulerOptions
  double max_slowdown = 1.75;              // see SchedulerOptions
  std::uint32_t n_max_draft_tok = 8;       // tokens guessed ahead at once; 0: none
  DraftModelOptions draft_model;  // guesses where the text itself gives nothing to guess from
  // Whether describe() has the tokenizer after it was checked; else only vocabulary() tells what it is made from.
  bool keeps_tokenizer = true;
  // Keeps blocks beyond memory and beyond this process; may be null. Owners: whoever opened it, and the engine.
  std::shared_ptr<BlockStore> block_store;
  CrashPage* crash_page = nullptr;  // names the sequences of the running step; outlives the engine
  // For drills and tests alone: a step with a row of this token in a prompt ends the process (SIGABRT)
  // before it commits anything, as a fault in a kernel would.
  std::optional<TokenId> poison_token;
};

/// The engine's thread alone owns sequences and blocks; other threads leave commands in a mailbox and read counters.
class Engine final : public Generator {
 public:
  /// Loads the model and starts the thread. Errors: those of LoadedModel::load, read_vocabulary, Tokenizer::create.
  static Result<std::unique_ptr<Engine>> open(EngineOptions options, Log& log);
  /// Running generations get an error event.
  ~Engine() override;

  const ModelDescription& describe() const override { return description_; }
  /// What its tokenizer is made from, merges and all, read in the model file. Errors: those of read_vocabulary.
  Result<Vocabulary> vocabulary() const;
  Result<GenerationId> submit(GenerateRequest request,
                              std::shared_ptr<GenerationSink> sink) override;
  void cancel(GenerationId id) override;
  Status force(GenerationId id, std::vector<TokenId> ids) override;
  Status attach(GenerationId id, std::uint32_t from, std::shared_ptr<GenerationSink> sink) override;
  GeneratorStatus status() const override;

  Isa isa() const { return model_.isa; }
  std::uint32_t n_threads() const { return model_.n_threads; }
  /// Null if there is none.
  const LoadedModel* draft_model() const { return drafter_ ? &drafter_->model() : nullptr; }

 private:
  struct Cancel {
    GenerationId id;
  };
  struct Force {
    GenerationId id;
    std::vector<TokenId> ids;
  };
  struct Attach {
    GenerationId id;
    std::uint32_t from;
    std::shared_ptr<GenerationSink> sink;
  };
  using Submit = std::unique_ptr<Sequence>;
  using CommandMessage = std::variant<Submit, Cancel, Force, Attach>;

  Engine(EngineOptions options, Log& log, LoadedModel model, std::optional<LoadedModel> draft,
         ModelDescription description, std::vector<TokenId> end_ids);

  Status check(const GenerateRequest& request) const;
  Status post_to_live(GenerationId id, CommandMessage message);
  void note_spill_room();

  // The engine's thread.
  /// For mail, or room in the spill: until there is some, or only until the block store may have read something.
  enum class Wait : std::uint8_t { kNone, kShort, kLong };

  void thread_main();
  bool is_idle() const { return scheduler_.n_running() + scheduler_.n_waiting() == 0; }
  bool run_step();
  bool take_commands(Wait wait);
  void spill_last_blocks();
  void handle(Submit sequence);
  void handle(Cancel cancel);
  void handle(Force force);
  void handle(Attach attach);
  bool has_better_mail() const;
  bool is_step_in_the_way_of(const GenerateRequest& request) const;
  bool begin_step();
  void end_step();
  void abort_if_poisoned() const;
  void commit();
  Status verify(Sequence& sequence, const StepPiece& piece);
  void commit_tokens(Sequence& sequence, const StepPiece& piece);
  bool append(Sequence& sequence, TokenId token, FinishReason& finish) const;
  Result<TokenId> choose(Sequence& sequence, std::uint32_t output_row, std::uint32_t position);
  static GenerationEvent news_of(Sequence& sequence, std::uint32_t position,
                                 std::vector<TokenId> ids);
  void finish(Sequence& sequence, FinishReason reason, std::optional<Error> error,
              std::vector<TokenId> last_ids);
  void forget(GenerationId id);
  void fail_all(const Error& error);
  void publish();

  EngineOptions options_;
  Log& log_;
  LoadedModel model_;
  ModelDescription description_;
  std::vector<TokenId> end_ids_;       // tokens that end an answer
  std::unique_ptr<BlockSpill> spill_;  // may be null
  PrefixCache cache_;
  std::unique_ptr<ModelDrafter> drafter_;  // may be null
  Scheduler scheduler_;
  StepBatch batch_;
  std::vector<StepPiece> pieces_;
  std::vector<std::uint64_t> step_tags_;  // of the pieces, for the crash page
  SamplerScratch sampler_scratch_;

  std::mutex mutex_;
  std::condition_variable has_mail_;
  std::vector<CommandMessage> mailbox_;    // guarded by mutex_
  std::unordered_set<GenerationId> live_;  // guarded by mutex_
  std::vector<GenerationId> wanted_;  // guarded by mutex_; of the running step, less the cancelled
  GenerationId last_id_ = 0;          // guarded by mutex_
  bool is_stopping_ = false;          // guarded by mutex_
  bool has_spill_room_ = false;       // guarded by mutex_; for blocks that wait to be saved
  bool is_background_step_ = false;   // guarded by mutex_; the running step is for nobody who waits
  bool gives_way_ = false;  // guarded by mutex_; the running step, to a tenant that is not in it
  std::vector<std::size_t> step_tenants_;      // guarded by mutex_; of the running step, hashes
  bool was_abandoned_ = false;                 // the last step; engine's thread alone
  std::atomic<bool> is_step_unwanted_{false};  // written under mutex_, read between layers

  std::atomic<std::uint32_t> n_running_{0}, n_waiting_{0}, n_blocks_used_{0};
  std::atomic<std::uint64_t> n_steps_{0}, n_prompt_tok_{0}, n_generated_tok_{0};
  std::atomic<std::uint64_t> n_preempted_{0}, n_draft_tok_{0}, n_right_draft_tok_{0};
  std::atomic<std::int64_t> last_step_ms_{0};  // on the steady clock
  std::thread thread_;                         // last: it uses everything above
};

}  // namespace deepwell::engine
