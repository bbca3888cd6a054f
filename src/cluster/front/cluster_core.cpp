// What links, the supervisor and callers say.
#include "cluster/front/cluster_core.hpp"

#include <algorithm>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "cluster/protocol/versions.hpp"

namespace deepwell::cluster {

using engine::GenerationEvent;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kDescribeAgain{1000};
// A worker of another age is asked again, in case it is replaced by one of ours.
constexpr std::chrono::milliseconds kForeignAgain{5000};

std::int64_t wall_clock_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string_view worker_state_name(WorkerState state) {
  switch (state) {
    case WorkerState::kLoading:
      return "loading";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kBusy:
      return "busy";
    case WorkerState::kStalled:
      return "stalled";
    case WorkerState::kDraining:
      return "draining";
    case WorkerState::kDown:
      break;
  }
  return "down";
}

// Attempts begin at the wall clock, so that those of a restarted front are newer than those before.
ClusterGenerator::Core::Core(ClusterOptions options, Log& log)
    : options_(std::move(options)),
      log_(log),
      last_attempt_(static_cast<std::uint64_t>(wall_clock_us())) {}

void ClusterGenerator::Core::start() {
  monitor_thread_ = std::thread([this] { monitor(); });
}

void ClusterGenerator::Core::stop() {
  std::vector<std::shared_ptr<WorkerLink>> links;
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    wake_monitor_.notify_all();
    for (auto& [id, worker] : workers_) links.push_back(worker.link);
    for (auto& [tag, flight] : flights_) {
      flight.sink->on_event(
          {.position = static_cast<std::uint32_t>(flight.request.generated.size()),
           .error = unavailable("the server is shutting down")});
    }
    flights_.clear();
    waiting_.clear();
    suspects_.clear();
  }
  monitor_thread_.join();
  for (const auto& link : links) {
    if (link != nullptr) link->close();
  }
}

// --- workers ---------------------------------------------------------------------------------------

void ClusterGenerator::Core::worker_loading(WorkerId id, double progress) {
  const std::lock_guard lock(mutex_);
  Worker& worker = workers_[id];
  worker.id = id;
  worker.progress = progress;
}

Status ClusterGenerator::Core::add_worker(WorkerId id, const std::string& address,
                                          bool is_supervised, const RoundRobinPeer& rules) {
  const std::weak_ptr<Core> weak = weak_from_this();
  LinkEvents events;
  events.on_model = [weak, id](Result<engine::ModelDescription> model) {
    if (const auto core = weak.lock()) core->on_model(id, std::move(model));
  };
  events.on_frame = [weak, id](proto::WorkerFrame& frame) {
    if (const auto core = weak.lock()) core->on_frame(id, frame);
  };
  events.on_lost = [weak, id](const std::string& why) {
    if (const auto core = weak.lock()) core->on_lost(id, why);
  };
  const bool is_local = address.starts_with("unix:");
  DW_ASSIGN(auto link,
            WorkerLink::create(address, is_local ? nullptr : options_.tls, std::move(events)));
  const std::lock_guard lock(mutex_);
  Worker& worker = workers_[id];
  worker.id = id;
  worker.address = address;
  worker.is_supervised = is_supervised;
  worker.progress = 1.0;
  worker.link = std::move(link);
  worker.link_state = Worker::Link::kConnecting;
  worker.last_frame = Clock::now();
  worker.peer = peer_of(id.index, rules);
  if (is_supervised) turns_.forget_failures(worker.peer);  // those of the process before it
  worker.link->describe();
  worker.link->connect(options_.orphan_grace);
  return {};
}

/// The number of an index in turns_. Workers come and go, their places stay.
std::size_t ClusterGenerator::Core::peer_of(std::uint32_t index, const RoundRobinPeer& rules) {
  const auto [found, is_new] = peers_.emplace(index, rules_.size());
  if (is_new) {
    rules_.push_back(rules);
    turns_.add(rules);
  }
  return found->second;
}

void ClusterGenerator::Core::on_model(WorkerId id, Result<engine::ModelDescription> model) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(id);
  if (found == workers_.end() || is_stopping_) return;
  Worker& worker = found->second;
  if (!model) {
    log_.warn("worker ", id.index, " (epoch ", id.epoch, "): ", model.error().message);
    worker.describe_at = Clock::now() + kDescribeAgain;
    return;
  }
  worker.fingerprint = model->fingerprint;
  // A worker that drains may be of the version before: those that stay say what this front serves.
  if (model_ == nullptr && !worker.is_draining) {
    model_ = std::make_unique<const engine::ModelDescription>(std::move(*model));
  }
  if (model_ == nullptr) return;
  for (auto& [other_id, other] : workers_)
    other.has_model = other.fingerprint == model_->fingerprint;
  if (!worker.has_model) {
    log_.warn("worker ", id.index, " (epoch ", id.epoch, ") serves other weights or numerics (",
              worker.fingerprint, "): it gets none of this front's work");
  }
  place_waiting();
}

void ClusterGenerator::Core::worker_died(WorkerId id, const std::vector<std::uint64_t>& suspects) {
  std::shared_ptr<WorkerLink> link;
  {
    const std::lock_guard lock(mutex_);
    const auto found = workers_.find(id);
    if (found == workers_.end()) return;
    link = found->second.link;
    found->second.is_being_killed = true;  // its stream may not have noticed yet
    lose(found->second, suspects);
    workers_.erase(id);
    place_waiting();
  }
  if (link != nullptr) link->close();
}

void ClusterGenerator::Core::drain_worker(WorkerId id) {
  const std::lock_guard lock(mutex_);
  Worker& worker = workers_[id];
  worker.id = id;
  worker.is_draining = true;
}

void ClusterGenerator::Core::on_lost(WorkerId id, const std::string& why) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(id);
  if (found == workers_.end() || is_stopping_) return;
  Worker& worker = found->second;
  if (worker.link->is_connected()) return;  // of a stream before the one that runs
  if (worker.link_state == Worker::Link::kUp || why != worker.last_why) {
    log_.info("no stream to worker ", id.index, " (epoch ", id.epoch, "): ", why);
  }
  worker.last_why = why;
  const bool was_up = worker.link_state == Worker::Link::kUp;
  worker.link_state = Worker::Link::kLost;
  worker.lost_at = Clock::now();
  worker.connect_at = worker.lost_at + std::chrono::milliseconds(was_up ? 50 : 200);
  if (worker.is_foreign) worker.connect_at = worker.lost_at + kForeignAgain;
  if (was_up) note_result(worker, true);
  // A supervised worker's death is told with its suspects within a moment: without them a request
  // that crashes workers would be moved to the next one at once. The monitor moves the rest.
  if (!worker.is_supervised) {
    lose(worker, {});
    place_waiting();
  }
}

void ClusterGenerator::Core::on_frame(WorkerId id, proto::WorkerFrame& frame) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(id);
  if (found == workers_.end() || is_stopping_) return;
  Worker& worker = found->second;
  worker.last_frame = Clock::now();
  worker.n_silent_ticks = 0;
  if (worker.is_suspected && !worker.is_being_killed) {
    worker.is_suspected = false;
    unhedge(worker);
  }
  if (frame.has_hello() && !on_hello(worker, frame.hello())) return;
  on_load(worker, frame.load());
  for (const proto::Event& event : frame.events()) on_event(worker, event);
}

/// False if the worker cannot be spoken with.
bool ClusterGenerator::Core::on_hello(Worker& worker, const proto::HelloReply& hello) {
  worker.is_foreign = !can_speak(kOurVersions, hello.protocol());
  if (worker.is_foreign) {
    log_.error("worker ", worker.id.index, " (deepwell ", hello.program(), ") speaks protocol ",
               hello.protocol(), ", this front (deepwell ", DEEPWELL_VERSION, ") speaks ",
               kOurVersions.oldest, " to ", kOurVersions.newest,
               ": it gets no work; run both from neighbouring releases");
    worker.link->cut();
    return false;
  }
  worker.link_state = Worker::Link::kUp;
  worker.pid = hello.pid();
  worker.fingerprint = hello.fingerprint();
  worker.has_model = model_ != nullptr && worker.fingerprint == model_->fingerprint;
  if (!worker.is_supervised) worker.is_draining = false;  // it was started again since it drained
  worker.n_parallel = std::max(1U, hello.n_parallel());
  worker.n_max_waiting = hello.n_max_waiting();
  worker.n_stalled_ticks = 0;
  take_stock(worker, {hello.orphans().begin(), hello.orphans().end()});
  log_.info("worker ", worker.id.index, " (epoch ", worker.id.epoch, ") is up: deepwell ",
            hello.program(), ", ", worker.n_parallel, " at once, ", worker.orphans.size(),
            " answers that went on without us");
  place_waiting();
  return true;
}

/// A new stream: what the worker computes for nobody, against what we believe it computes for us.
void ClusterGenerator::Core::take_stock(Worker& worker, const std::set<Tag>& orphans) {
  worker.orphans = orphans;
  const std::set<Tag> assigned = worker.flights;
  for (const Tag tag : assigned) {  // the stream broke and came back before the flights were moved
    Flight& flight = flights_.at(tag);
    flight.forget_attempt_on(worker.id);
    worker.flights.erase(tag);
    flight.was_resumed = true;
    if (flight.attempts.empty()) wait_for_place(tag, flight);
  }
  for (const Tag tag : orphans) {
    const auto found = flights_.find(tag);
    if (found == flights_.end())
      continue;  // of the front before this one: it may be submitted again
    worker.orphans.erase(tag);
    if (found->second.attempts.empty() && !suspects_.contains({found->second.order, tag})) {
      start_attempt(tag, found->second, worker);
      continue;
    }
    tell_cancel(worker, tag, last_attempt_);  // it went on elsewhere meanwhile
  }
}

void ClusterGenerator::Core::on_load(Worker& worker, const proto::Load& load) {
  worker.load = read_load(load);
  worker.is_draining |= load.is_draining();
  const std::uint64_t n_progress = load.n_layers_done() + load.n_steps() + load.n_major_faults();
  const bool is_idle = load.n_running() + load.n_waiting() == 0;
  if (n_progress != worker.n_progress || is_idle) worker.n_stalled_ticks = 0;
  worker.n_progress = n_progress;
}

void ClusterGenerator::Core::on_event(Worker& worker, const proto::Event& message) {
  const Tag tag = message.tag();
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return;
  Flight& flight = found->second;
  Attempt* const attempt = flight.attempt_on(worker.id);
  if (attempt == nullptr || attempt->epoch != message.epoch()) return;  // it came late
  Result<GenerationEvent> event = read_event(message);
  if (!event) return fail(tag, event.error());
  if (event->error) return on_failure(worker, tag, std::move(*event));
  if (!event->ids.empty()) attempt->last_token = worker.last_frame;

  counters_.n_mismatched_tok += event->n_mismatched_tok;
  if (event->n_mismatched_tok > 0) {
    log_.error("a resumed answer is not the one that was begun: ", event->n_mismatched_tok,
               " of its known tokens were chosen otherwise by worker ", worker.id.index);
  }
  Result<bool> is_news = take_news(flight, *event);
  if (!is_news) return fail(tag, is_news.error());
  if (!*is_news) return;
  const bool is_last = event->is_last();
  const bool has_token = !event->ids.empty() || is_last;
  flight.sink->on_event(std::move(*event));
  if (has_token) {
    if (flight.n_attempts > 0) note_result(worker, false);
    flight.n_attempts = 0;
    flight.refused_by.clear();
    if (on_probation_ == tag) {
      on_probation_.reset();
      next_on_probation();
    }
  }
  if (is_last) end(tag);
}

/// A worker that shuts down or is full refuses one attempt, not the generation.
void ClusterGenerator::Core::on_failure(Worker& worker, Tag tag, GenerationEvent event) {
  Flight& flight = flights_.at(tag);
  const Code code = event.error->code;
  const bool has_begun = flight.attempt_on(worker.id)->last_token != SteadyTime{};
  const bool is_refusal =
      (code == Code::kUnavailable || code == Code::kResourceExhausted) && !has_begun;
  if (is_refusal) {
    ++counters_.n_refused;
    note_result(worker, true);
    if (code == Code::kResourceExhausted) flight.refused_by.push_back(worker.id);
  }
  if (code == Code::kUnavailable) worker.is_draining = true;  // it said that it leaves
  const bool is_of_attempt = is_refusal || code == Code::kUnavailable || code == Code::kNotFound ||
                             (code == Code::kResourceExhausted && !flight.is_fresh());
  const bool is_hedged = flight.attempts.size() > 1;
  if (!is_of_attempt && !is_hedged) return give_up(tag, std::move(event));
  drop_attempt(tag, flight, worker);
  if (!flight.attempts.empty()) return;
  if (is_refusal) return retry(tag, flight, std::move(event));
  place(tag, flight);
}

/// What somebody reads already finds its place in the end. A submission that nobody has seen a word of
/// is tried elsewhere within the budget; beyond it, the refusal is its client's.
void ClusterGenerator::Core::retry(Tag tag, Flight& flight, GenerationEvent refusal) {
  if (!flight.is_fresh()) {
    flight.n_attempts -= std::min(flight.n_attempts, 1U);  // nothing was begun
    return wait_for_place(tag, flight);  // until the next tick: it would be refused again at once
  }
  // A worker that leaves has a successor; workers that are full do not get free by being asked.
  const bool is_worth_it = refusal.error->code == Code::kUnavailable || has_untried(flight);
  if (!is_worth_it || !retries_.try_spend()) return give_up(tag, std::move(refusal));
  ++counters_.n_retried;
  place(tag, flight);
}

/// Its last event is its reader's.
void ClusterGenerator::Core::give_up(Tag tag, GenerationEvent last) {
  Flight& flight = flights_.at(tag);
  last.position = static_cast<std::uint32_t>(flight.request.generated.size());
  last.ids.clear();
  flight.sink->on_event(std::move(last));
  end(tag);
}

// --- callers -----------------------------------------------------------------------------------------

Result<engine::GenerationId> ClusterGenerator::Core::submit(
    engine::GenerateRequest request, std::shared_ptr<engine::GenerationSink> sink) {
  if (request.prompt.empty()) return invalid_argument("the prompt is empty");
  if (request.tag == 0) request.tag = random_u64() | 1;
  const std::lock_guard lock(mutex_);
  if (is_stopping_) return unavailable("the server is shutting down");
  const Tag tag = request.tag;
  if (flights_.contains(tag)) {
    return Error{Code::kAlreadyExists, concat("generation ", tag, " runs already")};
  }
  if (capacity_ == 0) return unavailable("no worker is up yet; try again in a moment");
  if (!has_capacity()) {
    return Error{Code::kResourceExhausted, concat("the queue is full: ", flights_.size(),
                                                  " answers running or waiting; try again later")};
  }
  retries_.note_submission();
  Flight flight;
  flight.request = std::move(request);
  flight.sink = std::move(sink);
  flight.order = order_.next(flight.request);
  Flight& added = flights_.emplace(tag, std::move(flight)).first->second;
  for (auto& [id, worker] : workers_) {
    if (worker.link_state == Worker::Link::kUp && worker.orphans.erase(tag) > 0) {
      start_attempt(tag, added, worker);
      return tag;
    }
  }
  if (waiting_.empty() && suspects_.empty()) {
    place(tag, added);
  } else {  // nobody overtakes those who wait: a resumed answer would starve under load
    pass_fellows(added);
    wait_for_place(tag, added);
    place_waiting();
  }
  return tag;
}

void ClusterGenerator::Core::cancel(Tag tag) {
  const std::lock_guard lock(mutex_);
  end(tag);
}

Status ClusterGenerator::Core::force(Tag tag, std::vector<engine::TokenId> ids) {
  const std::lock_guard lock(mutex_);
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return not_found(concat("generation ", tag, " has ended"));
  Flight& flight = found->second;
  if (flight.attempts.size() != 1) {
    return unavailable("the answer is moving between workers; force it again in a moment");
  }
  // Where the ids land is the worker's word; until it comes, no known position counts as chosen.
  flight.n_forced_end =
      static_cast<std::uint32_t>(flight.request.generated.size() + ids.size() + 64);
  const Attempt& attempt = flight.attempts.front();
  workers_.at(attempt.worker).link->send([&](proto::FrontFrame& frame) {
    proto::Force& force = *frame.add_commands()->mutable_force();
    force.set_tag(tag);
    force.set_epoch(attempt.epoch);
    force.mutable_ids()->Add(ids.begin(), ids.end());
  });
  return {};
}

Status ClusterGenerator::Core::attach(Tag tag, std::uint32_t from,
                                      std::shared_ptr<engine::GenerationSink> sink) {
  const std::lock_guard lock(mutex_);
  const auto found = flights_.find(tag);
  if (found == flights_.end()) return not_found(concat("generation ", tag, " has ended"));
  const auto& known = found->second.request.generated;
  const std::size_t begin = std::min<std::size_t>(from, known.size());
  found->second.sink = std::move(sink);
  found->second.sink->on_event(
      {.position = static_cast<std::uint32_t>(begin),
       .ids = {known.begin() + static_cast<std::ptrdiff_t>(begin), known.end()}});
  return {};
}

// --- reports ------------------------------------------------------------------------------------------

bool ClusterGenerator::Core::is_ready() const {
  const std::lock_guard lock(mutex_);
  return has_eligible();
}

WorkerState ClusterGenerator::Core::state_of(const Worker& worker) const {
  if (worker.link == nullptr) return WorkerState::kLoading;
  if (worker.is_foreign) return WorkerState::kDown;
  if (worker.link_state != Worker::Link::kUp) {
    return worker.link_state == Worker::Link::kConnecting ? WorkerState::kLoading
                                                          : WorkerState::kDown;
  }
  if (worker.is_suspected || worker.is_being_killed) return WorkerState::kStalled;
  if (worker.is_draining) return WorkerState::kDraining;
  return worker.load.n_waiting > 0 ? WorkerState::kBusy : WorkerState::kReady;
}

std::vector<WorkerReport> ClusterGenerator::Core::workers() const {
  const std::lock_guard lock(mutex_);
  const SteadyTime now = Clock::now();
  std::vector<WorkerReport> reports;
  for (const auto& [id, worker] : workers_) {
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - worker.last_frame);
    reports.push_back({.id = id,
                       .state = state_of(worker),
                       .progress = worker.progress,
                       .n_assigned = static_cast<std::uint32_t>(worker.flights.size()),
                       .is_slow = worker.pace.is_slow,
                       .load = worker.load,
                       .last_frame_age_ms = worker.link == nullptr ? 0 : age.count()});
  }
  return reports;
}

ClusterCounters ClusterGenerator::Core::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

const engine::ModelDescription& ClusterGenerator::Core::describe() const {
  static const engine::ModelDescription kNone;
  const std::lock_guard lock(mutex_);
  return model_ == nullptr ? kNone : *model_;
}

engine::GeneratorStatus ClusterGenerator::Core::status() const {
  const std::lock_guard lock(mutex_);
  engine::GeneratorStatus sum;
  for (const auto& [id, worker] : workers_) {
    const engine::GeneratorStatus& load = worker.load;
    if (worker.link_state == Worker::Link::kUp) {
      sum.n_running += load.n_running;
      sum.n_waiting += load.n_waiting;
    }
    sum.n_kv_blocks_used += load.n_kv_blocks_used;
    sum.n_kv_blocks += load.n_kv_blocks;
    sum.n_steps += load.n_steps;
    sum.n_prompt_tok += load.n_prompt_tok;
    sum.n_generated_tok += load.n_generated_tok;
    sum.n_preempted += load.n_preempted;
    sum.n_draft_tok += load.n_draft_tok;
    sum.n_right_draft_tok += load.n_right_draft_tok;
    sum.n_blocks_saved += load.n_blocks_saved;
    sum.n_blocks_loaded += load.n_blocks_loaded;
    sum.n_blocks_refused += load.n_blocks_refused;
    sum.kv_disk_bytes = std::max(sum.kv_disk_bytes, load.kv_disk_bytes);  // workers here share one
    sum.n_layers_done += load.n_layers_done;
    sum.last_step_age_ms = std::max(sum.last_step_age_ms, load.last_step_age_ms);
  }
  // While no worker is up, what waits does not wait for an engine that stalls.
  if (has_eligible())
    sum.n_waiting += static_cast<std::uint32_t>(waiting_.size() + suspects_.size());
  return sum;
}

}  // namespace deepwell::cluster
