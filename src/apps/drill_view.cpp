// Reads the supervisor's status and the front's health.
#include "apps/drill_view.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "apps/drill_probe.hpp"
#include "base/concat.hpp"
#include "cluster/supervisor/admin.hpp"

namespace deepwell::apps {

namespace {

using json = nlohmann::json;

constexpr std::chrono::seconds kStatusLimit{5};

template <class Number>
void read_number(std::string_view text, Number& number) {
  std::from_chars(text.data(), text.data() + text.size(), number);
}

template <class Number>
Number number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<Number>() : Number{0};
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

const ProcessView* SystemView::find(std::string_view kind, std::uint64_t epoch) const {
  const auto found = std::find_if(
      processes.begin(), processes.end(),
      [&](const ProcessView& process) { return process.kind == kind && process.epoch == epoch; });
  return found == processes.end() ? nullptr : &*found;
}

const WorkerView* SystemView::find_worker(std::uint32_t index, std::uint64_t epoch) const {
  const auto found = std::find_if(
      health.workers.begin(), health.workers.end(),
      [&](const WorkerView& worker) { return worker.index == index && worker.epoch == epoch; });
  return found == health.workers.end() ? nullptr : &*found;
}

std::vector<ProcessView> SystemView::ready(std::string_view kind) const {
  std::vector<ProcessView> found;
  for (const ProcessView& process : processes) {
    if (process.kind == kind && process.state == "ready") found.push_back(process);
  }
  return found;
}

std::optional<ProcessView> parse_process(std::string_view line) {
  ProcessView process;
  process.kind = line.substr(0, line.find(' '));
  if (process.kind != "supervisor" && process.kind != "front" && process.kind != "worker")
    return {};
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    const std::string_view field = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = field.substr(0, equals);
    const std::string_view value = field.substr(equals + 1);
    if (key == "index") read_number(value, process.index);
    if (key == "epoch") read_number(value, process.epoch);
    if (key == "pid") read_number(value, process.pid);
    if (key == "restarts") read_number(value, process.n_restarts);
    if (key == "state") process.state = value;
  }
  return process;
}

HealthView parse_health(int http_status, const std::string& body) {
  HealthView health;
  health.http_status = http_status;
  const json parsed = json::parse(body, nullptr, false);
  if (!parsed.is_object()) return health;
  health.status = text_of(parsed, "status");
  const auto journal = parsed.find("journal");
  if (journal != parsed.end() && journal->is_object()) {
    const auto degraded = journal->find("degraded");
    health.is_journal_degraded =
        degraded != journal->end() && degraded->is_boolean() && degraded->get<bool>();
  }
  const auto workers = parsed.find("workers");
  if (workers == parsed.end() || !workers->is_array()) return health;
  for (const json& worker : *workers) {
    if (!worker.is_object()) continue;
    health.workers.push_back({.index = number_of<std::uint32_t>(worker, "index"),
                              .epoch = number_of<std::uint64_t>(worker, "epoch"),
                              .state = text_of(worker, "state"),
                              .n_running = number_of<std::uint32_t>(worker, "running")});
  }
  return health;
}

Result<SystemView> look_at_system(const std::string& run_directory, const LoadTarget& target,
                                  std::chrono::milliseconds health_limit) {
  SystemView view;
  DW_ASSIGN(const std::vector<std::string> lines,
            cluster::ask_supervisor(run_directory, "status", kStatusLimit));
  for (const std::string& line : lines) {
    if (auto process = parse_process(line)) view.processes.push_back(std::move(*process));
  }
  const auto answer = probe_http(target, "/healthz?deep=1", health_limit);
  if (answer) view.health = parse_health(answer->status, answer->text);
  return view;
}

}  // namespace deepwell::apps
