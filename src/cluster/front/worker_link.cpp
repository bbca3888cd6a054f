// The gRPC client of a worker.
#include "cluster/front/worker_link.hpp"

#include <grpcpp/grpcpp.h>
#include <proto/worker.grpc.pb.h>

#include <atomic>
#include <mutex>

#include "base/concat.hpp"
#include "base/memory.hpp"
#include "cluster/protocol/credentials.hpp"
#include "cluster/protocol/versions.hpp"

namespace deepwell::cluster {

namespace {

constexpr int kMinBackoffMs = 50;
constexpr int kMaxBackoffMs = 200;
constexpr int kConnectTimeoutMs = 1000;  // gRPC gives a connection attempt the minimal back-off
constexpr std::chrono::seconds kDescribeTimeout{20};

/// gRPC ends its callback threads with the last channel that used them, and joins them there: a
/// channel that a callback releases would make a thread join itself (seen with 1.51 as an abort). So
/// one channel, with one call to nowhere behind it, is never released.
void keep_callback_threads() {
  struct Keeper {
    std::shared_ptr<grpc::Channel> channel =
        grpc::CreateChannel("unix:/nowhere", grpc::InsecureChannelCredentials());
    std::unique_ptr<proto::Worker::Stub> stub = proto::Worker::NewStub(channel);
    grpc::ClientContext context;
    proto::DescribeRequest request;
    proto::ModelInfo response;
    Keeper() {
      stub->async()->Describe(&context, &request, &response, [](const grpc::Status&) {});
    }
  };
  static std::atomic<const Keeper*> keeper{
      new Keeper};  // atomic: kept in memory, so no leak to find
  static_cast<void>(keeper.load());
}

class GrpcLink;

/// One stream. Owned by gRPC: frees itself when it is done.
class Call final : public grpc::ClientBidiReactor<proto::FrontFrame, proto::WorkerFrame> {
 public:
  Call(std::shared_ptr<GrpcLink> link, proto::Worker::Stub& stub, proto::FrontFrame hello);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void cancel() { context_.TryCancel(); }

  // Called by the link, under its mutex.
  void write_locked(proto::FrontFrame& pending);

 private:
  const std::shared_ptr<GrpcLink> link_;  // owners: the cluster, and its running calls
  grpc::ClientContext context_;
  proto::WorkerFrame incoming_;
  proto::FrontFrame writing_;
  bool is_writing_ = true;  // the hello; guarded by the link's mutex
  bool is_held_ = true;     // gRPC keeps the call for writes from outside; likewise
};

class GrpcLink final : public WorkerLink, public std::enable_shared_from_this<GrpcLink> {
 public:
  GrpcLink(std::shared_ptr<grpc::Channel> channel, LinkEvents events)
      : stub_(proto::Worker::NewStub(channel)), events_(std::move(events)) {}

  void describe() override {
    struct Pending {
      grpc::ClientContext context;
      proto::DescribeRequest request;
      proto::ModelInfo model;
    };
    const auto pending = std::make_shared<Pending>();
    pending->context.set_wait_for_ready(true);
    pending->context.set_deadline(std::chrono::system_clock::now() + kDescribeTimeout);
    stub_->async()->Describe(
        &pending->context, &pending->request, &pending->model,
        [self = shared_from_this(), pending](const grpc::Status& status) {
          if (!status.ok()) {
            self->report([&](LinkEvents& events) {
              events.on_model(unavailable(
                  concat("the worker does not describe its model: ", status.error_message())));
            });
            return;
          }
          Result<engine::ModelDescription> model = read_model(std::move(pending->model));
          release_free_memory();  // of the message, hundreds of thousands of strings
          self->report([&](LinkEvents& events) { events.on_model(std::move(model)); });
        });
  }

  void connect(std::chrono::milliseconds orphan_grace) override {
    const std::lock_guard lock(mutex_);
    if (call_ != nullptr || is_closed_) return;
    pending_.Clear();
    proto::FrontFrame hello;
    hello.mutable_hello()->set_protocol(kOurVersions.newest);
    hello.mutable_hello()->set_program(DEEPWELL_VERSION);
    hello.mutable_hello()->set_orphan_grace_ms(static_cast<std::uint32_t>(orphan_grace.count()));
    call_ = new Call(shared_from_this(), *stub_, std::move(hello));
  }

  bool is_connected() const override {
    const std::lock_guard lock(mutex_);
    return call_ != nullptr;
  }

  void send(const std::function<void(proto::FrontFrame&)>& fill) override {
    const std::lock_guard lock(mutex_);
    if (call_ == nullptr) return;
    fill(pending_);
    call_->write_locked(pending_);
  }

  void cut() override {
    const std::lock_guard lock(mutex_);
    if (call_ != nullptr) call_->cancel();
  }

  void close() override {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    if (call_ != nullptr) call_->cancel();
  }

  void on_written(Call& call) {
    const std::lock_guard lock(mutex_);
    if (call_ == &call) call.write_locked(pending_);
  }

  /// The call can take no write any more. True for the first caller.
  bool forget(Call& call) {
    const std::lock_guard lock(mutex_);
    if (call_ != &call) return false;
    call_ = nullptr;
    return true;
  }

  template <class Use>
  void report(Use use) {
    const std::lock_guard one_at_a_time(report_mutex_);
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_) return;
    }
    use(events_);
  }

  std::mutex& mutex() { return mutex_; }

 private:
  const std::unique_ptr<proto::Worker::Stub> stub_;
  LinkEvents events_;
  std::mutex report_mutex_;  // taken before mutex_
  mutable std::mutex mutex_;
  Call* call_ = nullptr;
  proto::FrontFrame pending_;
  bool is_closed_ = false;
};

Call::Call(std::shared_ptr<GrpcLink> link, proto::Worker::Stub& stub, proto::FrontFrame hello)
    : link_(std::move(link)), writing_(std::move(hello)) {
  stub.async()->Attach(&context_, this);
  AddHold();  // write_locked() starts writes outside of gRPC's callbacks
  StartRead(&incoming_);
  StartWrite(&writing_);
  StartCall();
}

void Call::write_locked(proto::FrontFrame& pending) {
  if (is_writing_ || pending.ByteSizeLong() == 0) return;
  is_writing_ = true;
  writing_.Clear();
  writing_.Swap(&pending);
  StartWrite(&writing_);
}

void Call::OnReadDone(bool ok) {
  if (!ok) {
    link_->forget(*this);
    if (std::exchange(is_held_, false)) RemoveHold();
    return;
  }
  link_->report([this](LinkEvents& events) { events.on_frame(incoming_); });
  incoming_.Clear();
  StartRead(&incoming_);
}

void Call::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(link_->mutex());
    is_writing_ = false;
  }
  if (ok) link_->on_written(*this);
}

void Call::OnDone(const grpc::Status& status) {
  link_->forget(*this);
  const std::string why = status.ok() ? "the worker ended the stream" : status.error_message();
  link_->report([&](LinkEvents& events) { events.on_lost(why); });
  delete this;
}

}  // namespace

Result<std::shared_ptr<WorkerLink>> WorkerLink::create(const std::string& address,
                                                       const PeerTls* tls, LinkEvents events) {
  keep_callback_threads();
  DW_ASSIGN(const auto credentials, channel_credentials(tls));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  // A channel of one's own: a new worker at an old address is another worker.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(address, credentials, arguments);
  return std::shared_ptr<WorkerLink>(
      std::make_shared<GrpcLink>(std::move(channel), std::move(events)));
}

}  // namespace deepwell::cluster
