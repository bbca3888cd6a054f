// What a worker says to fronts that speak out of turn, in another version, or not at all.
#include "cluster/worker/worker_server.hpp"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <proto/worker.grpc.pb.h>
#include <unistd.h>

#include <thread>

#include "base/concat.hpp"
#include "cluster/protocol/convert.hpp"
#include "cluster/protocol/versions.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"

namespace deepwell::cluster {
namespace {

class QuietLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
};

class WorkerServerTest : public ::testing::Test {
 protected:
  WorkerServerTest() {
    static int n = 0;
    address_ = concat("unix:", ::testing::TempDir(), "served-", ::getpid(), "-", ++n, ".sock");
    SyntheticOptions options;
    options.pace = std::chrono::microseconds(500);
    generator_ = std::make_unique<SyntheticGenerator>(std::move(options));
    auto started = WorkerServer::start({.address = address_}, *generator_, log_);
    EXPECT_TRUE(started);
    server_ = std::move(*started);
    stub_ =
        proto::Worker::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }

  using Stream = grpc::ClientReaderWriter<proto::FrontFrame, proto::WorkerFrame>;

  static proto::FrontFrame hello(std::uint32_t protocol = kOurVersions.newest) {
    proto::FrontFrame frame;
    frame.mutable_hello()->set_protocol(protocol);
    frame.mutable_hello()->set_program("test");
    frame.mutable_hello()->set_orphan_grace_ms(300);
    return frame;
  }
  static proto::FrontFrame submission(std::uint64_t tag, std::uint64_t epoch) {
    proto::FrontFrame frame;
    engine::GenerateRequest request;
    request.prompt = {'a', 'b'};
    request.max_tokens = 50;
    request.tag = tag;
    write_submit(request, epoch, *frame.add_commands()->mutable_submit());
    return frame;
  }
  /// What the worker answers to `frames` when it ends the stream.
  grpc::Status refusal(const std::vector<proto::FrontFrame>& frames) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    auto stream = stub_->Attach(&context);
    for (const proto::FrontFrame& frame : frames) stream->Write(frame);
    proto::WorkerFrame ignored;
    while (stream->Read(&ignored)) {
    }
    return stream->Finish();
  }
  /// Reads until the generation's last event; its tokens.
  static std::vector<std::int32_t> read_all(Stream& stream, std::uint64_t tag) {
    std::vector<std::int32_t> ids;
    proto::WorkerFrame frame;
    while (stream.Read(&frame)) {
      for (const proto::Event& event : frame.events()) {
        if (event.tag() != tag) continue;
        EXPECT_EQ(event.position(), ids.size());
        ids.insert(ids.end(), event.ids().begin(), event.ids().end());
        if (event.finish() != proto::FINISH_NONE || event.has_failure()) return ids;
      }
    }
    return ids;
  }

  QuietLog log_;
  std::string address_;
  std::unique_ptr<SyntheticGenerator> generator_;
  std::unique_ptr<WorkerServer> server_;
  std::unique_ptr<proto::Worker::Stub> stub_;
};

TEST_F(WorkerServerTest, RefusesAFrontOfAnotherAgeAndNamesBothVersions) {
  const grpc::Status status = refusal({hello(99)});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(status.error_message().find("protocol 99"), std::string::npos)
      << status.error_message();
  EXPECT_NE(status.error_message().find(DEEPWELL_VERSION), std::string::npos);
  EXPECT_EQ(refusal({hello(0)}).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(WorkerServerTest, SpeaksItsOwnVersionWithAFrontOfTheNextRelease) {
  for (const std::uint32_t front : {kOurVersions.newest, kOurVersions.newest + 1}) {
    grpc::ClientContext context;
    auto stream = stub_->Attach(&context);
    stream->Write(hello(front));
    proto::WorkerFrame frame;
    ASSERT_TRUE(stream->Read(&frame));
    EXPECT_EQ(frame.hello().protocol(), kOurVersions.newest);
    context.TryCancel();
  }
  EXPECT_EQ(refusal({hello(kOurVersions.newest + 2)}).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(WorkerServerTest, EndsAStreamThatBeginsWithoutAHelloOrHasTwo) {
  EXPECT_NE(refusal({submission(1, 1)}).error_message().find("hello"), std::string::npos);
  EXPECT_NE(refusal({hello(), hello()}).error_message().find("second hello"), std::string::npos);
}

TEST_F(WorkerServerTest, EndsAStreamWithACommandThatItDoesNotKnow) {
  proto::FrontFrame unknown;
  unknown.add_commands();
  EXPECT_NE(refusal({hello(), unknown}).error_message().find("command"), std::string::npos);
  EXPECT_NE(refusal({hello(), submission(0, 1)}).error_message().find("no tag"), std::string::npos);
}

TEST_F(WorkerServerTest, SaysWhenItIsDraining) {
  grpc::ClientContext context;
  auto stream = stub_->Attach(&context);
  stream->Write(hello());
  proto::WorkerFrame frame;
  ASSERT_TRUE(stream->Read(&frame));
  EXPECT_TRUE(frame.has_hello());
  EXPECT_EQ(frame.hello().fingerprint(), generator_->describe().fingerprint);
  EXPECT_FALSE(frame.load().is_draining());
  server_->set_draining();
  do {
    ASSERT_TRUE(stream->Read(&frame));
  } while (!frame.load().is_draining());
  context.TryCancel();
}

TEST_F(WorkerServerTest, KeepsTokensForAFrontThatReadsLate) {
  grpc::ClientContext context;
  auto stream = stub_->Attach(&context);
  stream->Write(hello());
  stream->Write(submission(7, 1));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // all is said by now
  EXPECT_EQ(read_all(*stream, 7).size(), 50U);
  EXPECT_EQ(server_->n_held(), 1U) << "until the front says that it has it";
  proto::FrontFrame thanks;
  thanks.add_commands()->mutable_cancel()->set_tag(7);
  thanks.mutable_commands(0)->mutable_cancel()->set_epoch(1);
  stream->Write(thanks);
  for (int i = 0; i < 400 && server_->n_held() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(server_->n_held(), 0U);
  context.TryCancel();
}

TEST_F(WorkerServerTest, GivesAGenerationToWhoeverSubmitsItWithANewerEpoch) {
  grpc::ClientContext first_context;
  auto first = stub_->Attach(&first_context);
  first->Write(hello());
  first->Write(submission(8, 1));
  proto::WorkerFrame frame;
  do {
    ASSERT_TRUE(first->Read(&frame));
  } while (frame.events_size() == 0);

  grpc::ClientContext context;
  auto second = stub_->Attach(&context);
  second->Write(hello());
  second->Write(submission(8, 2));
  EXPECT_EQ(read_all(*second, 8).size(), 50U) << "from position 0, nothing computed twice";
  EXPECT_LE(generator_->status().n_generated_tok, 50U);

  second->Write(submission(8, 1));  // it comes late: ignored
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(generator_->status().n_generated_tok, 50U);
  first_context.TryCancel();
  context.TryCancel();
}

TEST_F(WorkerServerTest, ForgetsWhatNobodyClaimsWithinTheGrace) {
  {
    grpc::ClientContext context;
    auto stream = stub_->Attach(&context);
    stream->Write(hello());
    stream->Write(submission(9, 1));
    proto::WorkerFrame frame;
    do {
      ASSERT_TRUE(stream->Read(&frame));
    } while (frame.events_size() == 0);
    context.TryCancel();
  }
  EXPECT_EQ(server_->n_held(), 1U);
  for (int i = 0; i < 400 && server_->n_held() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(server_->n_held(), 0U);
}

TEST_F(WorkerServerTest, DescribesTheVocabularyAsItIsGiven) {
  Result<engine::Vocabulary> given = engine::Vocabulary{.model = "gpt2"};
  given->merges.push_back("a b");
  const std::string address = concat(address_, "-described");
  const auto server = WorkerServer::start({.address = address, .vocabulary = [&] { return given; }},
                                          *generator_, log_);
  ASSERT_TRUE(server);
  const auto stub =
      proto::Worker::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  const auto describe = [&stub](proto::ModelInfo& model) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    return stub->Describe(&context, proto::DescribeRequest(), &model);
  };
  proto::ModelInfo model;
  ASSERT_TRUE(describe(model).ok());
  EXPECT_EQ(model.fingerprint(), generator_->describe().fingerprint);
  ASSERT_EQ(model.vocabulary().merges_size(), 1);
  EXPECT_EQ(model.vocabulary().merges(0), "a b");

  given = Error{Code::kDataLoss, "the model file has changed"};
  const grpc::Status status = describe(model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(), "the model file has changed");
}

// Why there are no credits (ADR 0009): what a front does not read is not written.
TEST_F(WorkerServerTest, SendsFewLargeFramesToAFrontThatDoesNotRead) {
  constexpr std::uint32_t kTokens = 1000;
  constexpr std::uint64_t kGenerations = 128;
  SyntheticOptions many;
  many.n_slots = kGenerations;
  many.pace = std::chrono::microseconds(1000);  // a step a millisecond: each could be a frame
  SyntheticGenerator generator(many);
  const std::string address = concat(address_, "-many");
  auto server = WorkerServer::start({.address = address}, generator, log_);
  ASSERT_TRUE(server);
  grpc::ChannelArguments narrow;  // a window that does not grow, so that the test can be small
  narrow.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  narrow.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 * 1024);
  const auto stub = proto::Worker::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), narrow));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  auto stream = stub->Attach(&context);
  stream->Write(hello());
  for (std::uint64_t tag = 1; tag <= kGenerations; ++tag) {
    proto::FrontFrame frame = submission(tag, 1);
    frame.mutable_commands(0)->mutable_submit()->set_max_tokens(kTokens);
    stream->Write(frame);
  }
  const auto is_done = [&] { return generator.status().n_generated_tok >= kGenerations * kTokens; };
  for (int i = 0; i < 6000 && !is_done(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_TRUE(is_done()) << "the engine waits for no reader";

  std::size_t n_frames = 0;
  std::size_t n_tok = 0;
  int n_largest = 0;
  std::size_t n_over = 0;
  proto::WorkerFrame frame;
  while (n_over < kGenerations && stream->Read(&frame)) {
    ++n_frames;
    for (const proto::Event& event : frame.events()) {
      n_tok += static_cast<std::size_t>(event.ids_size());
      n_largest = std::max(n_largest, event.ids_size());
      n_over += event.finish() != proto::FINISH_NONE;
    }
  }
  EXPECT_EQ(n_tok, kGenerations * kTokens);
  // There were 1,000 steps of 4 KB each. What was written fills the transport's window, and is one
  // frame more; all that came later is in the last.
  EXPECT_LT(n_frames, kTokens / 2) << "a step that is not read makes no frame";
  EXPECT_GT(n_largest, static_cast<int>(kTokens / 2)) << "what waited comes at once";
  context.TryCancel();
}

}  // namespace
}  // namespace deepwell::cluster
