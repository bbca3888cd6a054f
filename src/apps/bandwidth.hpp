// How fast this machine reads memory.
#pragma once

#include <cstdint>

namespace deepwell::apps {

/// Best of five sums over 1 GiB (less where memory is short) with n_threads threads, in GB/s: the ceiling of decode.
double measure_read_bandwidth_gbps(std::uint32_t n_threads);

}  // namespace deepwell::apps
