// SystemView: what a running server says of itself, read from outside.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/load_client.hpp"
#include "base/result.hpp"

namespace deepwell::apps {

/// A line of the supervisor's status. A place that waits for its next child has epoch 0.
struct ProcessView {
  std::string kind;  // "supervisor", "front", "worker"
  std::uint32_t index = 0;
  std::uint64_t epoch = 0;
  int pid = 0;
  std::string state;
  std::uint32_t n_restarts = 0;
};

/// A worker as the front sees it. Remote workers are here only.
struct WorkerView {
  std::uint32_t index = 0;
  std::uint64_t epoch = 0;
  std::string state;
  std::uint32_t n_running = 0;
};

struct HealthView {
  int http_status = 0;  // 0: no answer within the limit
  std::string status;   // "ok", "degraded", ...
  bool is_journal_degraded = false;
  std::vector<WorkerView> workers;
};

struct SystemView {
  std::vector<ProcessView> processes;
  HealthView health;

  const ProcessView* find(std::string_view kind, std::uint64_t epoch) const;
  const WorkerView* find_worker(std::uint32_t index, std::uint64_t epoch) const;
  std::vector<ProcessView> ready(std::string_view kind) const;
};

/// "worker index=0 epoch=1 pid=28960 set=1 state=ready ..."; nothing for a line of another form.
std::optional<ProcessView> parse_process(std::string_view line);
/// The body of GET /healthz?deep=1; what is not there stays at its default.
HealthView parse_health(int http_status, const std::string& body);

/// Asks the supervisor, and the front within the limit. A front that does not answer is a view too. Error: that of
/// the supervisor, which must live.
Result<SystemView> look_at_system(const std::string& run_directory, const LoadTarget& target,
                                  std::chrono::milliseconds health_limit);

}  // namespace deepwell::apps
