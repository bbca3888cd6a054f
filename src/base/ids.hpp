// Ids and seeds out of the system's random source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace deepwell {

/// Fills `out` from the kernel's generator (getrandom); waits at boot until it is seeded.
/// Thread-safe.
void fill_random(std::span<std::byte> out);

/// A uniform 64-bit number: what a request without a seed gets (the caller records it).
std::uint64_t random_u64();

/// `prefix` and 24 characters of 0-9a-z: over 120 random bits, for example "chatcmpl-8f3k…".
std::string random_id(std::string_view prefix);

/// 2·n_bytes lower-case hexadecimal digits.
std::string random_hex(std::size_t n_bytes);

}  // namespace deepwell
