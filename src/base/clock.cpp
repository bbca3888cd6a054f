// Clocks and the ways that times and amounts are printed for people.
#include "base/clock.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <ctime>

#include "base/concat.hpp"

namespace deepwell {

std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::int64_t monotonic_ms() { return monotonic_ns() / 1'000'000; }

std::int64_t wall_clock_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::int64_t wall_clock_s() { return wall_clock_ms() / 1000; }

std::string format_utc(std::int64_t wall_s) {
  const std::time_t time = wall_s;
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const std::size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text.data(), n);
}

std::string format_fixed(double value, int n_digits) {
  std::array<char, 400> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 std::chars_format::fixed, n_digits);
  return std::string(text.data(), end.ptr);
}

std::string format_duration(std::int64_t duration_ns) {
  const double seconds = static_cast<double>(duration_ns) / 1e9;
  if (seconds < 0.001) return concat(format_fixed(seconds * 1e6, 0), " us");
  if (seconds < 1) return concat(format_fixed(seconds * 1e3, 1), " ms");
  if (seconds < 60) return concat(format_fixed(seconds, 2), " s");
  const std::int64_t whole = duration_ns / 1'000'000'000;
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string format_bytes(std::uint64_t n_bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(n_bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return concat(format_fixed(value, unit == 0 ? 0 : 1), " ", kUnits[unit]);
}

}  // namespace deepwell
