// The gRPC service of a worker: streams of fronts, and the thread that writes to them.
#include "cluster/worker/worker_server.hpp"

#include <grpcpp/grpcpp.h>
#include <proto/worker.grpc.pb.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <list>
#include <thread>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/memory.hpp"
#include "cluster/protocol/credentials.hpp"
#include "cluster/protocol/versions.hpp"
#include "cluster/worker/held_generations.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::chrono::milliseconds kHeartbeat{100};
constexpr int kBeatsUntilRelease =
    10;  // after a description, which leaves megabytes of freed memory

std::uint64_t n_major_faults() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_majflt);
}

class Session;

/// What the streams share with the service.
struct Shared {
  Shared(WorkerServerOptions the_options, engine::Generator& the_generator, Log& the_log)
      : generator(the_generator),
        log(the_log),
        options(std::move(the_options)),
        held(the_generator, [this] { notify(); }) {}

  /// Called on the engine's thread: one flag, one wake-up, whatever the number of streams.
  void notify() {
    if (has_news.exchange(true)) return;
    const std::lock_guard lock(mutex);
    wake.notify_one();
  }

  Result<engine::Vocabulary> vocabulary() const {
    if (options.vocabulary) return options.vocabulary();
    return generator.describe().tokenizer->vocabulary();
  }

  engine::Generator& generator;
  Log& log;
  const WorkerServerOptions options;
  std::atomic<bool> is_draining{false};
  std::atomic<bool> has_news{false};
  // Also of calls that gRPC lets go of after the server has ended.
  std::shared_ptr<std::atomic<int>> n_beats_until_release = std::make_shared<std::atomic<int>>(0);
  std::mutex mutex;
  std::condition_variable wake;
  bool is_stopping = false;       // guarded by mutex
  std::list<Session*> sessions;   // guarded by mutex
  std::condition_variable ended;  // a session has left the list
  HeldGenerations held;
};

/// One front's stream. Frees itself when gRPC is done with it.
class Session final : public grpc::ServerBidiReactor<proto::FrontFrame, proto::WorkerFrame> {
 public:
  explicit Session(Shared& shared) : shared_(shared) {
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.sessions.push_back(this);
    }
    StartRead(&incoming_);
  }

  /// Sends what is new, if the last write is done; a heartbeat also when nothing is.
  void write(bool is_heartbeat) {
    const std::lock_guard lock(mutex_);
    is_heartbeat_due_ |= is_heartbeat;
    write_locked();
  }

  void end(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    if (std::exchange(is_finished_, true)) return;
    Finish(status);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return end(grpc::Status::OK);
    if (const Status read = handle(); !read) {
      shared_.log.warn("a front's stream was ended: ", read.error().message);
      return end({grpc::StatusCode::FAILED_PRECONDITION, read.error().message});
    }
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    is_writing_ = false;
    if (ok) write_locked();
  }

  void OnCancel() override { end(grpc::Status::CANCELLED); }

  void OnDone() override {
    if (session_ != 0) shared_.held.close_session(session_);
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.sessions.remove(this);
      shared_.ended.notify_all();
    }
    delete this;
  }

 private:
  Status handle() {
    if (session_ == 0) {
      DW_TRY(greet());
    } else if (incoming_.has_hello()) {
      return invalid_argument("a second hello in one stream");
    }
    for (proto::Command& command : *incoming_.mutable_commands()) DW_TRY(carry_out(command));
    return {};
  }

  Status carry_out(proto::Command& command) {
    switch (command.what_case()) {
      case proto::Command::kSubmit: {
        const std::uint64_t epoch = command.submit().epoch();
        DW_ASSIGN(engine::GenerateRequest request, read_submit(*command.mutable_submit()));
        shared_.held.submit(session_, std::move(request), epoch);
        return {};
      }
      case proto::Command::kCancel:
        shared_.held.cancel(command.cancel().tag(), command.cancel().epoch());
        return {};
      case proto::Command::kForce: {
        const proto::Force& force = command.force();
        shared_.held.force(force.tag(), force.epoch(), {force.ids().begin(), force.ids().end()});
        return {};
      }
      case proto::Command::WHAT_NOT_SET:
        break;
    }
    return invalid_argument("a command that this worker does not know");
  }

  Status greet() {
    if (!incoming_.has_hello()) return invalid_argument("the stream does not begin with a hello");
    const proto::Hello& hello = incoming_.hello();
    const std::optional<std::uint32_t> agreed = agree(kOurVersions, hello.protocol());
    if (!agreed) {
      return Error{
          Code::kFailedPrecondition,
          concat("the front (deepwell ", hello.program(), ") speaks protocol ", hello.protocol(),
                 ", this worker (deepwell ", DEEPWELL_VERSION, ") speaks ", kOurVersions.oldest,
                 " to ", kOurVersions.newest, ": run both from neighbouring releases")};
    }
    const std::vector<std::uint64_t> orphans = shared_.held.orphans();
    const std::lock_guard lock(mutex_);
    session_ = shared_.held.open_session(std::chrono::milliseconds(hello.orphan_grace_ms()));
    proto::HelloReply& reply = *outgoing_.mutable_hello();
    reply.set_protocol(*agreed);
    reply.set_program(DEEPWELL_VERSION);
    reply.set_fingerprint(shared_.generator.describe().fingerprint);
    reply.set_n_parallel(shared_.options.n_parallel);
    reply.set_n_max_waiting(shared_.options.n_max_waiting);
    reply.mutable_orphans()->Add(orphans.begin(), orphans.end());
    reply.set_pid(static_cast<std::uint32_t>(::getpid()));
    is_heartbeat_due_ = true;
    write_locked();
    return {};
  }

  void write_locked() {
    if (is_writing_ || is_finished_ || session_ == 0) return;
    const bool has_news = shared_.held.collect(session_, outgoing_) || outgoing_.has_hello();
    if (!has_news && !is_heartbeat_due_) return;
    is_heartbeat_due_ = false;
    proto::Load& load = *outgoing_.mutable_load();
    write_load(shared_.generator.status(), load);
    load.set_n_major_faults(n_major_faults());
    load.set_is_draining(shared_.is_draining.load());
    is_writing_ = true;
    writing_.Clear();
    writing_.Swap(&outgoing_);
    StartWrite(&writing_);
  }

  Shared& shared_;
  proto::FrontFrame incoming_;

  std::mutex mutex_;
  proto::WorkerFrame outgoing_;  // being filled
  proto::WorkerFrame writing_;   // gRPC's until OnWriteDone()
  SessionId session_ = 0;
  bool is_writing_ = false;
  bool is_finished_ = false;
  bool is_heartbeat_due_ = false;
};

/// The answer to one call of Describe. Frees itself when gRPC is done with it, however slowly the front reads.
class Description final : public grpc::ServerUnaryReactor {
 public:
  Description(const Shared& shared, proto::ModelInfo& response)
      : n_beats_until_release_(shared.n_beats_until_release) {
    const auto vocabulary = shared.vocabulary();
    if (!vocabulary) {
      Finish(grpc::Status(grpc::StatusCode::DATA_LOSS, vocabulary.error().message));
      return;
    }
    write_model(shared.generator.describe(), *vocabulary, response);
    Finish(grpc::Status::OK);
  }
  void OnDone() override {
    *n_beats_until_release_ = kBeatsUntilRelease;
    delete this;
  }

 private:
  std::shared_ptr<std::atomic<int>> n_beats_until_release_;
};

class Service final : public proto::Worker::CallbackService {
 public:
  explicit Service(Shared& shared) : shared_(shared) {}

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext*, const proto::DescribeRequest*,
                                     proto::ModelInfo* response) override {
    return new Description(shared_, *response);
  }

  grpc::ServerBidiReactor<proto::FrontFrame, proto::WorkerFrame>* Attach(
      grpc::CallbackServerContext*) override {
    return new Session(shared_);
  }

 private:
  Shared& shared_;
};

}  // namespace

struct WorkerServer::State {
  State(WorkerServerOptions options, engine::Generator& generator, Log& log)
      : shared(std::move(options), generator, log), service(shared) {}

  /// Writes news as soon as there are some, and heartbeats; never waits for the engine.
  void pump() {
    auto next_heartbeat = std::chrono::steady_clock::now() + kHeartbeat;
    for (;;) {
      bool is_heartbeat = false;
      {
        std::unique_lock lock(shared.mutex);
        shared.wake.wait_until(lock, next_heartbeat,
                               [this] { return shared.is_stopping || shared.has_news.load(); });
        if (shared.is_stopping) return;
        shared.has_news.store(false);
        const auto now = std::chrono::steady_clock::now();
        is_heartbeat = now >= next_heartbeat;
        if (is_heartbeat) next_heartbeat = now + kHeartbeat;
        for (Session* session : shared.sessions) session->write(is_heartbeat);
      }
      if (!is_heartbeat) continue;
      shared.held.expire(std::chrono::steady_clock::now());
      std::atomic<int>& n_beats = *shared.n_beats_until_release;
      if (n_beats > 0 && --n_beats == 0) release_free_memory();
    }
  }

  Shared shared;
  Service service;
  std::unique_ptr<grpc::Server> server;
  std::thread pump_thread;
};

Result<std::unique_ptr<WorkerServer>> WorkerServer::start(WorkerServerOptions options,
                                                          engine::Generator& generator, Log& log) {
  DW_ASSIGN(const auto credentials, server_credentials(options.tls));
  auto state = std::make_unique<State>(std::move(options), generator, log);
  const std::string& address = state->shared.options.address;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, credentials, &port);
  builder.RegisterService(&state->service);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr) {
    return unavailable(concat("cannot listen for fronts on '", address,
                              "': is the address free, and the directory there?"));
  }
  state->pump_thread = std::thread([raw = state.get()] { raw->pump(); });
  return std::unique_ptr<WorkerServer>(new WorkerServer(std::move(state)));
}

WorkerServer::WorkerServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

WorkerServer::~WorkerServer() {
  Shared& shared = state_->shared;
  {
    const std::lock_guard lock(shared.mutex);
    shared.is_stopping = true;
    shared.wake.notify_all();
  }
  state_->pump_thread.join();
  state_->server->Shutdown(std::chrono::system_clock::now());  // cancels the streams
  state_->server->Wait();
  std::unique_lock lock(shared.mutex);
  shared.ended.wait(lock, [&shared] { return shared.sessions.empty(); });
}

void WorkerServer::set_draining() {
  state_->shared.is_draining = true;
  state_->shared.notify();
}

std::size_t WorkerServer::n_held() const { return state_->shared.held.n_held(); }

}  // namespace deepwell::cluster
