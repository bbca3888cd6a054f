// Incidents: what is known about the death of a child, one file each.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "base/child_process.hpp"
#include "base/result.hpp"

namespace deepwell::cluster {

struct Incident {
  std::string child;  // "worker-0", "front-0"
  std::uint64_t epoch = 0;
  ExitStatus status;
  std::string reason;  // who ended it and why; empty: it died by itself
  std::chrono::milliseconds uptime{0};
  std::vector<std::uint64_t> suspects;  // tags of the step in which a worker died
  std::vector<std::string> arguments;   // secrets already masked
  std::deque<std::string> log_tail;     // the last lines of its stderr
};

inline constexpr std::size_t kMaxIncidents = 100;

/// "--api-key ***": the value of each option whose name ends in key, token, secret or password, in
/// both spellings (`--api-key VALUE`, `--api-key=VALUE`).
std::vector<std::string> mask_secrets(const std::vector<std::string>& arguments);

/// `key: value` lines, then `log:` and the lines of the tail, each behind two spaces.
std::string format_incident(const Incident& incident, std::int64_t wall_ms);

/// Writes DIRECTORY/<time>-<child>-<epoch>.txt and removes the oldest beyond kMaxIncidents. Returns the
/// path. Not synced to the disk: the supervisor must not wait for one.
Result<std::string> write_incident(const std::string& directory, const Incident& incident,
                                   std::int64_t wall_ms);

}  // namespace deepwell::cluster
