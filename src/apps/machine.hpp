// What this machine is: processor, memory, NUMA nodes, read from the kernel's own files.
#pragma once

#include <cstdint>
#include <string>

namespace deepwell::apps {

struct Machine {
  std::string processor;            // "AMD EPYC 9R14"; empty: unknown
  std::uint32_t n_cpus = 0;         // online
  std::uint32_t n_usable_cpus = 0;  // by affinity and cgroup quota
  std::uint32_t n_numa_nodes = 1;
  std::uint64_t memory_bytes = 0;
  std::uint64_t available_bytes = 0;
  std::string governor;  // of the first processor's frequency; empty: unknown
};

Machine look_at_machine();

}  // namespace deepwell::apps
