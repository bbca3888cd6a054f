// Clocks: a monotonic one for durations, the wall clock for what people read.
#pragma once

#include <cstdint>
#include <string>

namespace deepwell {

/// Nanoseconds since an arbitrary start; never goes back.
std::int64_t monotonic_ns();
/// Milliseconds since an arbitrary start; never goes back.
std::int64_t monotonic_ms();

/// Seconds since 1970-01-01T00:00:00Z.
std::int64_t wall_clock_s();
/// Milliseconds since 1970-01-01T00:00:00Z.
std::int64_t wall_clock_ms();

/// "2025-03-01T12:00:00Z" (RFC 3339, UTC).
std::string format_utc(std::int64_t wall_s);

/// "1.5 s", "2 min 5 s": a duration for people.
std::string format_duration(std::int64_t duration_ns);
/// "468.6 MiB", "1.1 GiB": an amount for people, powers of 1024.
std::string format_bytes(std::uint64_t n_bytes);
/// A number with so many digits after the point.
std::string format_fixed(double value, int n_digits);

}  // namespace deepwell
