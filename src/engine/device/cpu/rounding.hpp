// Counts rounded up.
#pragma once

#include <cstdint>

namespace deepwell::engine {

constexpr std::uint32_t ceil_div(std::uint32_t n, std::uint32_t by) { return (n + by - 1) / by; }
constexpr std::uint32_t round_up(std::uint32_t n, std::uint32_t to) { return ceil_div(n, to) * to; }

}  // namespace deepwell::engine
