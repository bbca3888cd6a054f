// WorkerSpec: what an operator writes of a worker on another machine, in the words of an nginx
// `server` line.
//
//   engine-1:9000 weight=2 max_fails=3 fail_timeout=10s backup
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cluster/front/round_robin.hpp"

namespace deepwell::cluster {

struct WorkerSpec {
  std::string address;  // "host:port"
  RoundRobinPeer rules;
};

/// Words apart by spaces, the address first. Error: kInvalidArgument names the word and what is
/// allowed.
Result<WorkerSpec> parse_worker_spec(std::string_view text);

}  // namespace deepwell::cluster
