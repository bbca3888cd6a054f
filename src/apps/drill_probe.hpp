// One small GET with a hard limit of time, for those who ask a server that may hang.
#pragma once

#include <chrono>
#include <string>

#include "apps/load_client.hpp"
#include "base/result.hpp"

namespace deepwell::apps {

struct ProbeAnswer {
  int status = 0;
  std::string text;  // at most EventStreamParser::kMaxTextBytes
};

/// The target's path is not put before `path`. Errors: kUnavailable, kDeadlineExceeded.
Result<ProbeAnswer> probe_http(const LoadTarget& target, const std::string& path,
                               std::chrono::milliseconds limit);

}  // namespace deepwell::apps
