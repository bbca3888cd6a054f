// A fast checksum against accidents: flipped bits, torn writes. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace deepwell {

/// 64 bits over the bytes, their number and `seed`. Any change inside one aligned word of eight bytes is found for
/// certain, others are missed with probability 2^-64. Eight words are in flight at once, so it runs at the speed of
/// memory. The value depends on the machine's byte order: for memory and files that stay on one machine.
std::uint64_t checksum64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

}  // namespace deepwell
