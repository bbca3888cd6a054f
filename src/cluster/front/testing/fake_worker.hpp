// FakeWorker: a worker's end of the protocol that says just what a test tells it to.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <proto/worker.grpc.pb.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/concat.hpp"
#include "cluster/front/cluster_generator.hpp"
#include "cluster/protocol/convert.hpp"
#include "cluster/protocol/versions.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"

namespace deepwell::cluster {

/// Heartbeats come by themselves, every 20 ms; nothing else does. One stream at a time.
class FakeWorker final : public proto::Worker::Service {
 public:
  struct Options {
    std::uint32_t n_parallel = 1;
    std::uint32_t n_max_waiting = 2;
    std::uint32_t protocol = kOurVersions.newest;
    std::optional<Code> refuses_with;  // every submission
  };

  explicit FakeWorker(WorkerId the_id) : FakeWorker(the_id, Options{}) {}
  FakeWorker(WorkerId the_id, Options options) : id(the_id), options_(options) {
    address = concat("unix:", ::testing::TempDir(), "fake-", ::getpid(), "-", id.index, "-",
                     id.epoch, ".sock");
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    heart_ = std::thread([this] { beat(); });
  }
  ~FakeWorker() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
      changed_.notify_all();
    }
    heart_.join();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  // --- what the front said ------------------------------------------------------------------------
  /// The n-th submission (from 0) of the tag; an empty one if it does not come in time.
  proto::Submit wait_submit(std::uint64_t tag, std::size_t n = 0) {
    std::unique_lock lock(mutex_);
    const auto find = [&]() -> const proto::Submit* {
      std::size_t n_seen = 0;
      for (const proto::Submit& submit : submits_) {
        if (submit.tag() == tag && n_seen++ == n) return &submit;
      }
      return nullptr;
    };
    const bool has_come =
        changed_.wait_for(lock, std::chrono::seconds(20), [&] { return find() != nullptr; });
    EXPECT_TRUE(has_come) << "no submission " << n << " of " << tag;
    return has_come ? *find() : proto::Submit();
  }
  bool wait_cancel(std::uint64_t tag) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      return std::find(cancels_.begin(), cancels_.end(), tag) != cancels_.end();
    });
  }
  /// Tags in the order of their submissions.
  std::vector<std::uint64_t> submitted() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> tags;
    for (const proto::Submit& submit : submits_) tags.push_back(submit.tag());
    return tags;
  }
  std::size_t n_streams() const {
    const std::lock_guard lock(mutex_);
    return n_streams_;
  }

  // --- what it says -------------------------------------------------------------------------------
  void say(const proto::Submit& to, std::uint32_t position, std::vector<engine::TokenId> ids,
           engine::FinishReason finish = engine::FinishReason::kNone) {
    proto::WorkerFrame frame;
    write_event({.position = position, .ids = std::move(ids), .finish = finish}, to.tag(),
                to.epoch(), *frame.add_events());
    const std::lock_guard lock(mutex_);
    write_locked(frame);
  }
  void refuse(const proto::Submit& what, Code code) {
    proto::WorkerFrame frame;
    write_event({.error = Error{code, "told to refuse"}}, what.tag(), what.epoch(),
                *frame.add_events());
    const std::lock_guard lock(mutex_);
    write_locked(frame);
  }
  /// No heartbeats meanwhile.
  void set_silent(bool is_silent) {
    const std::lock_guard lock(mutex_);
    is_silent_ = is_silent;
  }
  /// Ends the stream. The next one's hello names these as orphans.
  void cut(std::vector<std::uint64_t> orphans) {
    const std::lock_guard lock(mutex_);
    orphans_ = std::move(orphans);
    if (context_ != nullptr) context_->TryCancel();
  }

  const WorkerId id;
  std::string address;

 private:
  grpc::Status Describe(grpc::ServerContext*, const proto::DescribeRequest*,
                        proto::ModelInfo* response) override {
    write_model(model_.describe(), model_.describe().tokenizer->vocabulary(), *response);
    return grpc::Status::OK;
  }
  grpc::Status Attach(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<proto::WorkerFrame, proto::FrontFrame>* stream) override {
    proto::FrontFrame frame;
    if (!stream->Read(&frame)) return grpc::Status::OK;
    {
      const std::lock_guard lock(mutex_);
      context_ = context;
      stream_ = stream;
      ++n_streams_;
      greet_locked();
    }
    do {
      const std::lock_guard lock(mutex_);
      for (const proto::Command& command : frame.commands()) {
        if (command.has_submit()) hear_locked(command.submit());
        if (command.has_cancel()) cancels_.push_back(command.cancel().tag());
      }
      changed_.notify_all();
    } while (stream->Read(&frame));
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
    stream_ = nullptr;
    return grpc::Status::OK;
  }
  void hear_locked(const proto::Submit& submit) {
    submits_.push_back(submit);
    if (!options_.refuses_with) return;
    proto::WorkerFrame frame;
    write_event({.error = Error{*options_.refuses_with, "told to refuse"}}, submit.tag(),
                submit.epoch(), *frame.add_events());
    write_locked(frame);
  }
  void greet_locked() {
    proto::WorkerFrame frame;
    proto::HelloReply& hello = *frame.mutable_hello();
    hello.set_protocol(options_.protocol);
    hello.set_program("fake");
    hello.set_fingerprint(model_.describe().fingerprint);
    hello.set_n_parallel(options_.n_parallel);
    hello.set_n_max_waiting(options_.n_max_waiting);
    hello.mutable_orphans()->Add(orphans_.begin(), orphans_.end());
    write_locked(frame);
  }
  void write_locked(proto::WorkerFrame& frame) {
    frame.mutable_load()->set_n_layers_done(++n_layers_done_);
    if (stream_ != nullptr) stream_->Write(frame);
  }
  void beat() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return is_stopping_; })) {
      proto::WorkerFrame frame;
      if (!is_silent_) write_locked(frame);
    }
  }

  const Options options_;
  SyntheticGenerator model_{{}};  // described, never asked
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<proto::Submit> submits_;
  std::vector<std::uint64_t> cancels_;
  std::vector<std::uint64_t> orphans_;
  grpc::ServerContext* context_ = nullptr;
  grpc::ServerReaderWriter<proto::WorkerFrame, proto::FrontFrame>* stream_ = nullptr;
  std::size_t n_streams_ = 0;
  std::uint64_t n_layers_done_ = 0;
  bool is_silent_ = false;
  bool is_stopping_ = false;
  std::unique_ptr<grpc::Server> server_;
  std::thread heart_;
};

}  // namespace deepwell::cluster
