// FakeClusterTest: a cluster over fake workers.
#pragma once

#include <atomic>

#include "cluster/front/testing/fake_worker.hpp"
#include "cluster/front/testing/reader.hpp"

namespace deepwell::cluster {

class FakeClusterTest : public ::testing::Test {
 protected:
  FakeClusterTest() {
    options.kill_worker = [this](WorkerId, const std::string&) { ++n_kills; };
  }

  /// Begins the cluster, with the options as they are, at the first worker.
  void add(const FakeWorker& worker, bool is_supervised = true, const RoundRobinPeer& rules = {}) {
    if (cluster == nullptr) cluster = std::make_unique<ClusterGenerator>(options, log);
    ASSERT_TRUE(cluster->add_worker(worker.id, worker.address, is_supervised, rules));
    EXPECT_TRUE(wait_until([&] { return state(worker) == WorkerState::kReady; }));
    EXPECT_TRUE(wait_until([&] { return cluster->is_ready(); }));
  }
  WorkerState state(const FakeWorker& worker) const {
    for (const WorkerReport& report : cluster->workers()) {
      if (report.id == worker.id) return report.state;
    }
    return WorkerState::kDown;
  }
  static bool wait_until(const std::function<bool()>& is_so) {
    for (int i = 0; i < 4000; ++i) {
      if (is_so()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return is_so();
  }
  std::shared_ptr<Reader> start(std::uint64_t tag) {
    auto reader = std::make_shared<Reader>();
    engine::GenerateRequest request;
    request.prompt = {'a', static_cast<TokenId>(tag)};
    request.max_tokens = 100;
    request.tag = tag;
    const auto id = cluster->submit(std::move(request), reader);
    EXPECT_TRUE(id) << id.error().message;
    return reader;
  }
  /// Long enough for what must not come to come.
  static void let_it_come() { std::this_thread::sleep_for(std::chrono::milliseconds(150)); }

  QuietLog log;
  ClusterOptions options;
  std::atomic<int> n_kills{0};
  std::unique_ptr<ClusterGenerator> cluster;
};

}  // namespace deepwell::cluster
