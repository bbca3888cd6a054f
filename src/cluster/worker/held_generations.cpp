// Keeping tokens for fronts, and handing them out.
#include "cluster/worker/held_generations.hpp"

#include <algorithm>
#include <utility>

#include "base/concat.hpp"

namespace deepwell::cluster {

using engine::GenerateRequest;
using engine::GenerationEvent;
using engine::GenerationId;
using engine::TokenId;

/// What sinks, which may outlive their owner in the engine, share with it.
struct HeldGenerations::Gate {
  std::mutex mutex;
  HeldGenerations* owner = nullptr;  // null: gone
};

/// Carries one attempt's events here. The engine may still call it when the attempt has been replaced.
class HeldGenerations::Sink final : public engine::GenerationSink {
 public:
  Sink(std::shared_ptr<Gate> gate, std::uint64_t tag, std::uint64_t attempt)
      : gate_(std::move(gate)), tag_(tag), attempt_(attempt) {}
  void on_event(GenerationEvent event) override {
    const std::lock_guard lock(gate_->mutex);
    if (gate_->owner != nullptr) gate_->owner->on_event(tag_, attempt_, std::move(event));
  }

 private:
  const std::shared_ptr<Gate> gate_;  // owners: all sinks, and who made them
  const std::uint64_t tag_;
  const std::uint64_t attempt_;
};

HeldGenerations::HeldGenerations(engine::Generator& generator, std::function<void()> on_news)
    : generator_(generator), on_news_(std::move(on_news)), gate_(std::make_shared<Gate>()) {
  gate_->owner = this;
}

HeldGenerations::~HeldGenerations() {
  {
    const std::lock_guard lock(gate_->mutex);
    gate_->owner = nullptr;
  }
  std::vector<GenerationId> running;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [tag, held] : held_) {
      if (held.id != 0 && !held.last.is_last()) running.push_back(held.id);
    }
    held_.clear();
  }
  for (const GenerationId id : running) generator_.cancel(id);
}

SessionId HeldGenerations::open_session(std::chrono::milliseconds orphan_grace) {
  const std::lock_guard lock(mutex_);
  sessions_[++last_session_].orphan_grace = orphan_grace;
  return last_session_;
}

void HeldGenerations::close_session(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  const SteadyTime until = std::chrono::steady_clock::now() + found->second.orphan_grace;
  sessions_.erase(found);
  for (auto& [tag, held] : held_) {
    if (held.session != session) continue;
    held.session = 0;
    held.is_dirty = false;
    held.orphan_until = until;
  }
}

std::vector<std::uint64_t> HeldGenerations::orphans() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> tags;
  for (const auto& [tag, held] : held_) {
    if (held.session == 0) tags.push_back(tag);
  }
  return tags;
}

void HeldGenerations::submit(SessionId session, GenerateRequest request, std::uint64_t epoch) {
  if (take_over(session, request, epoch)) return on_news_();
  const std::uint64_t tag = request.tag;
  std::uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    Held held;
    held.tag = tag;
    held.epoch = epoch;
    held.session = session;
    held.attempt = attempt = ++last_attempt_;
    held.ids = request.generated;
    held.n_sent = held.ids.size();
    held_.insert_or_assign(tag, std::move(held));
  }
  const Result<GenerationId> id =
      generator_.submit(std::move(request), std::make_shared<Sink>(gate_, tag, attempt));
  if (!id) return on_event(tag, attempt, {.error = id.error()});
  bool is_wanted = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(tag);
    is_wanted = found != held_.end() && found->second.attempt == attempt;
    if (is_wanted) found->second.id = *id;
  }
  if (!is_wanted) generator_.cancel(*id);  // another stream cancelled it meanwhile
}

/// True if nothing needs to be computed: the tag is held, and its tokens go on from those known.
bool HeldGenerations::take_over(SessionId session, const GenerateRequest& request,
                                std::uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  const auto found = held_.find(request.tag);
  if (found == held_.end()) return false;
  Held& held = found->second;
  // It came late. (To an orphan nobody sends late; its epoch is of a front whose clock may have been
  // ahead.)
  if (held.epoch >= epoch && held.session != 0) return true;
  // One that failed is tried anew. One that is behind what the front knows cannot be: a front knows
  // what this worker or another one sent it, and then this attempt is of no use.
  if (held.last.error || held.ids.size() < request.generated.size()) {
    const GenerationId behind = held.last.is_last() ? 0 : held.id;
    held_.erase(found);
    if (behind != 0) generator_.cancel(behind);
    return false;
  }
  if (held.session != 0 && held.session != session) disown(held);
  held.epoch = epoch;
  held.session = session;
  held.orphan_until = SteadyTime::max();
  held.n_sent = request.generated.size();
  held.is_dirty = false;
  note_news(held);
  return true;
}

/// The session that had it so far hears that another front has it now.
void HeldGenerations::disown(const Held& held) {
  const auto found = sessions_.find(held.session);
  if (found == sessions_.end()) return;
  found->second.taken.push_back({held.tag, held.epoch, held.ids.size()});
}

void HeldGenerations::cancel(std::uint64_t tag, std::uint64_t epoch) {
  GenerationId running = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(tag);
    if (found == held_.end() || found->second.epoch > epoch) return;
    if (!found->second.last.is_last()) running = found->second.id;
    held_.erase(found);
  }
  if (running != 0) generator_.cancel(running);
}

void HeldGenerations::force(std::uint64_t tag, std::uint64_t epoch, std::vector<TokenId> ids) {
  GenerationId running = 0;
  std::uint64_t attempt = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(tag);
    if (found == held_.end() || found->second.epoch != epoch) return;
    running = found->second.id;
    attempt = found->second.attempt;
  }
  const Status forced = generator_.force(running, std::move(ids));
  if (!forced) on_event(tag, attempt, {.error = forced.error()});
}

void HeldGenerations::on_event(std::uint64_t tag, std::uint64_t attempt, GenerationEvent event) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(tag);
    if (found == held_.end() || found->second.attempt != attempt) return;
    Held& held = found->second;
    if (held.last.is_last()) return;
    held.ids.insert(held.ids.end(), event.ids.begin(), event.ids.end());
    held.n_mismatched_tok += event.n_mismatched_tok;
    event.ids.clear();
    held.last = std::move(event);
    note_news(held);
  }
  on_news_();
}

void HeldGenerations::note_news(Held& held) {
  const auto found = sessions_.find(held.session);
  if (held.is_dirty || found == sessions_.end()) return;
  held.is_dirty = true;
  found->second.news.push_back(held.tag);
}

bool HeldGenerations::collect(SessionId session, proto::WorkerFrame& frame) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return false;
  for (const Taken& taken : std::exchange(found->second.taken, {})) {
    write_event({.position = static_cast<std::uint32_t>(taken.n_tok),
                 .error = Error{Code::kAborted, "another front goes on with this answer"}},
                taken.tag, taken.epoch, *frame.add_events());
  }
  std::vector<std::uint64_t> tags;
  tags.swap(found->second.news);
  for (const std::uint64_t tag : tags) {
    const auto held = held_.find(tag);
    if (held != held_.end() && held->second.session == session) {
      write_news(held->second, frame, found->second);
    }
  }
  return frame.events_size() > 0;
}

/// One event with what is unsent; a very long tail goes on in the next frame.
void HeldGenerations::write_news(Held& held, proto::WorkerFrame& frame, Session& session) {
  held.is_dirty = false;
  const std::size_t n = std::min(held.ids.size() - held.n_sent, kMaxEventTok);
  const auto begin = held.ids.begin() + static_cast<std::ptrdiff_t>(held.n_sent);
  const bool is_all = held.n_sent + n == held.ids.size();
  GenerationEvent event;
  if (is_all) event = held.last;
  event.position = static_cast<std::uint32_t>(held.n_sent);
  event.ids.assign(begin, begin + static_cast<std::ptrdiff_t>(n));
  event.n_prompt_tok_done = held.last.n_prompt_tok_done;
  event.n_cached_tok = held.last.n_cached_tok;
  event.n_mismatched_tok = std::exchange(held.n_mismatched_tok, 0);
  held.n_sent += n;
  write_event(event, held.tag, held.epoch, *frame.add_events());
  if (!is_all) {
    held.is_dirty = true;
    session.news.push_back(held.tag);
  }
}

void HeldGenerations::expire(SteadyTime now) {
  std::vector<GenerationId> running;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = held_.begin(); it != held_.end();) {
      if (it->second.orphan_until > now) {
        ++it;
        continue;
      }
      if (!it->second.last.is_last()) running.push_back(it->second.id);
      it = held_.erase(it);
    }
  }
  for (const GenerationId id : running) {
    if (id != 0) generator_.cancel(id);
  }
}

std::size_t HeldGenerations::n_held() const {
  const std::lock_guard lock(mutex_);
  return held_.size();
}

}  // namespace deepwell::cluster
