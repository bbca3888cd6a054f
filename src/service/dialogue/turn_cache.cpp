// Whose turn it is in the background, and what gives way to what.
#include "service/dialogue/turn_cache.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/ids.hpp"
#include "service/dialogue/text_pipeline.hpp"

namespace deepwell::service {

namespace {

// Two messages with no beginning in common, neither of which begins with a space or a line feed: what their prompts
// share is what the template alone decides.
constexpr const char* kProbes[] = {"And then?", "2 or 3"};

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Of the same conversation, `now` is a later turn: it begins with all that was said.
bool is_continued_by(const Conversation& before, const Conversation& now) {
  if (before.tenant != now.tenant || before.messages.size() >= now.messages.size()) return false;
  return std::equal(before.messages.begin(), before.messages.end(), now.messages.begin(),
                    [](const ChatMessage& a, const ChatMessage& b) {
                      return a.role == b.role && a.content == b.content;
                    });
}

}  // namespace

Result<std::vector<engine::TokenId>> next_turn_prefix(const ChatTemplate& chat_template,
                                                      const engine::Tokenizer& tokenizer,
                                                      const Conversation& conversation) {
  std::vector<engine::TokenId> ids[2];
  for (int i = 0; i < 2; ++i) {
    ChatInput input;
    input.messages = conversation.messages;
    input.messages.push_back({.role = "user", .content = kProbes[i]});
    input.enable_thinking = conversation.enable_thinking;
    input.variables = conversation.template_variables;
    DW_ASSIGN(const RenderedPrompt prompt, chat_template.render(input));
    ids[i] = tokenizer.encode_spans(prompt.views());
  }
  const auto same = std::mismatch(ids[0].begin(), ids[0].end(), ids[1].begin(), ids[1].end());
  ids[0].erase(same.first, ids[0].end());
  return std::move(ids[0]);
}

bool is_on_battery(const std::string& directory) {
  std::error_code error;
  bool is_discharging = false;
  for (const auto& supply : std::filesystem::directory_iterator(directory, error)) {
    const std::string type = first_line(supply.path() / "type");
    if (type == "Mains" && first_line(supply.path() / "online") == "1") return false;
    // A mouse has a battery too, and says so.
    const bool is_of_device = first_line(supply.path() / "scope") == "Device";
    if (type == "Battery" && !is_of_device) {
      is_discharging = is_discharging || first_line(supply.path() / "status") == "Discharging";
    }
  }
  return is_discharging;
}

class TurnCache::Sink final : public engine::GenerationSink {
 public:
  Sink(std::shared_ptr<TurnCache> cache, std::uint64_t run) : cache_(std::move(cache)), run_(run) {}
  void on_event(engine::GenerationEvent event) override { cache_->on_event(run_, event); }

 private:
  const std::shared_ptr<TurnCache> cache_;  // owners: the dialogue, its sinks and posted work
  const std::uint64_t run_;
};

TurnCache::TurnCache(engine::Generator& generator, Executor& pool, ChatTemplate chat_template,
                     TurnCacheOptions options)
    : generator_(generator),
      pool_(pool),
      template_(std::move(chat_template)),
      tokenizer_(generator.describe().tokenizer),
      options_(std::move(options)) {}

void TurnCache::begin(const std::string& answer_id, Conversation conversation) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    // It has come back for its next turn: what was to be computed for that is no longer needed.
    std::erase_if(waiting_, [&](const Waiting& one) {
      return is_continued_by(one.conversation, conversation);
    });
    if (current_ && is_continued_by(current_->conversation, conversation)) current_.reset();
    live_[answer_id] = std::move(conversation);
  }
  interrupt();
}

void TurnCache::drop(const std::string& answer_id) {
  {
    const std::lock_guard lock(mutex_);
    live_.erase(answer_id);
  }
  start_soon();
}

void TurnCache::end(const LiveAnswer& answer) {
  {
    const std::lock_guard lock(mutex_);
    auto found = live_.extract(answer.info().id);
    if (!found.empty() && answer.end_state() == StreamState::kFinished &&
        answer.plan().n_choices() == 1) {
      const AnswerPlan& plan = answer.plan();
      Waiting& next = waiting_.emplace_back();
      next.conversation = std::move(found.mapped());
      next.plan.stop = plan.stop;
      next.plan.reasoning = plan.reasoning;
      next.plan.is_thought_open = plan.is_thought_open;
      next.ids = std::move(answer.outcome().choices[0].ids);
      if (waiting_.size() > kMaxWaiting) waiting_.pop_front();
    }
  }
  start_soon();
}

// Ends what runs; it comes again when its time has come, unless begin() has seen its next turn.
void TurnCache::interrupt() {
  std::optional<engine::GenerationId> cancelled;
  {
    const std::lock_guard lock(mutex_);
    if (!generation_) return;
    cancelled = std::exchange(generation_, std::nullopt);
    put_back();
  }
  generator_.cancel(*cancelled);
}

// With the lock: what is computed now waits again, and nothing more of it is heard.
void TurnCache::put_back() {
  ++run_;
  ++stats_.n_interrupted;
  if (current_) waiting_.push_back(std::move(*current_));
  current_.reset();
  is_busy_ = false;
}

void TurnCache::start_soon() {
  const std::lock_guard lock(mutex_);
  if (is_closed_ || is_busy_ || !live_.empty() || waiting_.empty()) return;
  is_busy_ = true;
  ++n_working_;
  pool_.post([self = shared_from_this()] {
    self->start_one();
    self->start_soon();
    const std::lock_guard done(self->mutex_);
    --self->n_working_;
    self->quiet_.notify_all();
  });
}

// On the pool. It is busy and works alone; begin() may come at any moment, and then this one steps back.
void TurnCache::start_one() {
  Waiting next;
  {
    const std::lock_guard lock(mutex_);
    const bool is_wanted = !is_closed_ && live_.empty() && !waiting_.empty();
    if (!is_wanted) {
      is_busy_ = false;
      return;
    }
    next = std::move(waiting_.back());
    waiting_.pop_back();
  }
  const bool is_allowed = !is_on_battery(options_.power_supplies);
  const Status prepared = is_allowed ? prepare(next) : Status{};
  const bool is_useful = is_allowed && prepared && !next.prefix.empty() &&
                         next.prefix.size() < generator_.describe().n_ctx_tok;
  std::uint64_t run = 0;
  engine::GenerateRequest request;
  {
    const std::lock_guard lock(mutex_);
    if (!is_useful || is_closed_ || !live_.empty()) {
      is_busy_ = false;
      if (is_useful && !is_closed_) waiting_.push_back(std::move(next));
      return;
    }
    request.prompt = next.prefix;
    request.tenant = next.conversation.tenant;
    request.priority = engine::Priority::kBackground;
    request.tag = std::max<std::uint64_t>(random_u64(), 1);
    current_ = std::move(next);
    run = ++run_;
  }
  const auto id =
      generator_.submit(std::move(request), std::make_shared<Sink>(shared_from_this(), run));
  bool is_late = false;
  {
    const std::lock_guard lock(mutex_);
    const bool is_over = run_ != run;  // its last event came before its id
    is_late = id && !is_over && (is_closed_ || !live_.empty());
    if (id && !is_over && !is_late) generation_ = *id;
    if (!id && !is_over) {
      current_.reset();
      is_busy_ = false;
    }
    if (is_late) put_back();
  }
  if (is_late) generator_.cancel(*id);
}

Status TurnCache::prepare(Waiting& next) const {
  if (!next.prefix.empty()) return {};
  std::string reasoning;
  std::string content;
  TextPipeline pipeline(*tokenizer_, next.plan);
  for (const engine::TokenId id : next.ids) pipeline.push(id, reasoning, content);
  pipeline.finish(reasoning, content);
  next.conversation.messages.push_back({.role = "assistant", .content = std::move(content)});
  next.ids.clear();
  DW_ASSIGN(next.prefix, next_turn_prefix(template_, *tokenizer_, next.conversation));
  return {};
}

void TurnCache::on_event(std::uint64_t run, const engine::GenerationEvent& event) {
  if (!event.is_last()) return;
  {
    const std::lock_guard lock(mutex_);
    if (run != run_) return;
    ++run_;
    generation_.reset();
    current_.reset();
    is_busy_ = false;
    if (!event.error) ++stats_.n_computed;
  }
  start_soon();
}

void TurnCache::close() {
  std::optional<engine::GenerationId> cancelled;
  {
    std::unique_lock lock(mutex_);
    is_closed_ = true;
    waiting_.clear();
    quiet_.wait(lock, [this] { return n_working_ == 0; });
    cancelled = std::exchange(generation_, std::nullopt);
    ++run_;
  }
  if (cancelled) generator_.cancel(*cancelled);
}

TurnCacheStats TurnCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace deepwell::service
