// Random ids over getrandom(2).
#include "base/ids.hpp"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/check.hpp"

namespace deepwell {

void fill_random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = ::getrandom(out.data(), out.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    DW_CHECK(n > 0, "the kernel gives no random bytes");
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

std::uint64_t random_u64() {
  std::uint64_t number = 0;
  fill_random(std::as_writable_bytes(std::span(&number, 1)));
  return number;
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  for (int word = 0; word < 2; ++word) {
    // 36^12 < 2^64, so a word gives twelve digits; that it is no multiple costs less than one bit.
    std::uint64_t number = random_u64();
    for (int i = 0; i < 12; ++i) {
      id.push_back(kDigits[number % kDigits.size()]);
      number /= kDigits.size();
    }
  }
  return id;
}

std::string random_hex(std::size_t n_bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::vector<std::byte> bytes(n_bytes);
  fill_random(bytes);
  std::string hex;
  for (const std::byte byte : bytes) {
    hex.push_back(kDigits[std::to_integer<std::size_t>(byte) >> 4U]);
    hex.push_back(kDigits[std::to_integer<std::size_t>(byte) & 15U]);
  }
  return hex;
}

}  // namespace deepwell
