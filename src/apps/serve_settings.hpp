// What `deepwell serve` is told, and what its children are told by being given the same arguments.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "apps/command.hpp"
#include "apps/draft_options.hpp"
#include "apps/engine_options.hpp"
#include "apps/kv_disk.hpp"
#include "apps/locate_model.hpp"
#include "apps/packed_image.hpp"
#include "cluster/front/cluster_generator.hpp"
#include "cluster/front/worker_spec.hpp"
#include "cluster/protocol/peer_tls.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"
#include "edge/serve.hpp"
#include "engine/runtime/engine.hpp"

namespace deepwell::apps {

struct ServeSettings {
  EngineCommandOptions model;
  PackedImageOption packed_image;
  KvDiskOption kv_disk;
  DraftOptions draft;
  std::uint32_t n_parallel = 16;
  std::uint32_t n_max_waiting = 256;
  std::uint32_t n_workers = 1;
  std::vector<std::string> worker_lines;  // of remote workers: "host:port weight=2 backup"
  std::vector<cluster::WorkerSpec> remote_workers;
  std::string balance = "least-loaded";
  cluster::PeerTls worker_tls;
  std::string run_directory;
  std::string durability = "process";
  std::string turn_cache = "auto";
  std::int64_t request_timeout_s = 3600;
  std::int64_t shutdown_timeout_s = 300;
  std::int64_t reattach_grace_s = 10;
  std::int64_t worker_memory_mb = 0;
  bool has_journal = true;
  bool is_synthetic = false;
  bool is_thinking = false;  // the synthetic worker says a thought first
  std::int64_t synthetic_pace_us = 20'000;
  std::int64_t poison_token = -1;
  edge::ServeOptions serving;

  void declare(OptionTable& table);
  /// Error: kInvalidArgument (--worker, --balance).
  Status read_workers();
  Result<cluster::Balance> balance_mode() const;
  /// Turns what was read into the options of the server. `name` tells servers of one home apart: the
  /// port, or the process if any port will do. Error: kInvalidArgument
  /// (durability, workers).
  Status finish(const Context& context, const std::string& name);

  /// The engine of one of n_workers, which share the processors. Error: kInvalidArgument
  /// (--kv-cache-type), those of PackedImageOption::directory().
  Result<engine::EngineOptions> engine_options(const Context& context,
                                               const LocatedModel& located) const;
  cluster::SyntheticOptions synthetic_options() const;
};

/// Where the sockets of a server's processes lie: short, because a Unix socket's path may have 107 bytes.
std::string default_run_directory(const Context& context, const std::string& name);

void report_engine(const Context& context, const engine::Engine& engine);
/// The address, the API base and a first command.
void report_listening(const Context& context, const edge::Listening& listening);

}  // namespace deepwell::apps
