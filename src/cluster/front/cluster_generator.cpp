// The public face: every call goes to the Core, which running callbacks keep alive.
#include "cluster/front/cluster_generator.hpp"

#include "cluster/front/cluster_core.hpp"

namespace deepwell::cluster {

ClusterGenerator::ClusterGenerator(ClusterOptions options, Log& log)
    : core_(std::make_shared<Core>(std::move(options), log)) {
  core_->start();
}

ClusterGenerator::~ClusterGenerator() { core_->stop(); }

void ClusterGenerator::worker_loading(WorkerId id, double progress) {
  core_->worker_loading(id, progress);
}

Status ClusterGenerator::add_worker(WorkerId id, const std::string& address, bool is_supervised,
                                    const RoundRobinPeer& rules) {
  return core_->add_worker(id, address, is_supervised, rules);
}

void ClusterGenerator::worker_died(WorkerId id, const std::vector<std::uint64_t>& suspects) {
  core_->worker_died(id, suspects);
}

void ClusterGenerator::drain_worker(WorkerId id) { core_->drain_worker(id); }

bool ClusterGenerator::is_ready() const { return core_->is_ready(); }

std::vector<WorkerReport> ClusterGenerator::workers() const { return core_->workers(); }

ClusterCounters ClusterGenerator::counters() const { return core_->counters(); }

const engine::ModelDescription& ClusterGenerator::describe() const { return core_->describe(); }

Result<engine::GenerationId> ClusterGenerator::submit(
    engine::GenerateRequest request, std::shared_ptr<engine::GenerationSink> sink) {
  return core_->submit(std::move(request), std::move(sink));
}

void ClusterGenerator::cancel(engine::GenerationId id) { core_->cancel(id); }

Status ClusterGenerator::force(engine::GenerationId id, std::vector<engine::TokenId> ids) {
  return core_->force(id, std::move(ids));
}

Status ClusterGenerator::attach(engine::GenerationId id, std::uint32_t from,
                                std::shared_ptr<engine::GenerationSink> sink) {
  return core_->attach(id, from, std::move(sink));
}

engine::GeneratorStatus ClusterGenerator::status() const { return core_->status(); }

}  // namespace deepwell::cluster
