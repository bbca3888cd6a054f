// SHA-256 in portable C++: FIPS 180-4 section 6.2, with the message schedule kept in 16 words.
#include "base/sha256.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace deepwell {

namespace detail {

// FIPS 180-4 section 4.2.2: the fractional parts of the cube roots of the first 64 primes.
const std::array<std::uint32_t, 64> kSha256Constants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

namespace {

std::uint32_t load_big_endian(const std::byte* from) {
  std::uint32_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return std::endian::native == std::endian::little ? __builtin_bswap32(word) : word;
}

std::uint32_t small_sigma0(std::uint32_t x) {
  return std::rotr(x, 7) ^ std::rotr(x, 18) ^ (x >> 3U);
}
std::uint32_t small_sigma1(std::uint32_t x) {
  return std::rotr(x, 17) ^ std::rotr(x, 19) ^ (x >> 10U);
}

}  // namespace

void sha256_compress_portable(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                              std::size_t n_blocks) {
  for (; n_blocks > 0; --n_blocks, blocks += 64) {
    std::array<std::uint32_t, 16> w;
    for (std::size_t t = 0; t < 16; ++t) w[t] = load_big_endian(blocks + 4 * t);
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t begin = 0; begin < 64; begin += 16) {
      // Unrolled, the eight moves at a round's end and the indices of w cost nothing.
#pragma GCC unroll 16
      for (std::size_t i = 0; i < 16; ++i) {
        if (begin > 0) {
          w[i] += small_sigma1(w[(i + 14) % 16]) + w[(i + 9) % 16] + small_sigma0(w[(i + 1) % 16]);
        }
        const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
        const std::uint32_t choose = g ^ (e & (f ^ g));
        const std::uint32_t t1 = h + sum1 + choose + kSha256Constants[begin + i] + w[i];
        const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
        const std::uint32_t majority = (a & b) | (c & (a | b));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + sum0 + majority;
      }
    }
    const std::array<std::uint32_t, 8> add = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += add[i];
  }
}

}  // namespace detail

namespace {

void compress(std::array<std::uint32_t, 8>& state, const std::byte* blocks, std::size_t n_blocks) {
  static const detail::Sha256Compress accelerated = detail::sha256_compress_accelerated();
  if (accelerated != nullptr) return accelerated(state, blocks, n_blocks);
  detail::sha256_compress_portable(state, blocks, n_blocks);
}

}  // namespace

bool has_sha_instructions() { return detail::sha256_compress_accelerated() != nullptr; }

// FIPS 180-4 section 5.3.3.
Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(std::span<const std::byte> bytes) {
  std::size_t n_pending = n_bytes_ % 64;
  n_bytes_ += bytes.size();
  if (n_pending > 0) {
    const std::size_t n_taken = std::min(64 - n_pending, bytes.size());
    std::copy_n(bytes.begin(), n_taken, block_.begin() + static_cast<std::ptrdiff_t>(n_pending));
    bytes = bytes.subspan(n_taken);
    n_pending += n_taken;
    if (n_pending < 64) return;
    compress(state_, block_.data(), 1);
  }
  compress(state_, bytes.data(), bytes.size() / 64);
  bytes = bytes.last(bytes.size() % 64);
  std::copy(bytes.begin(), bytes.end(), block_.begin());
}

Sha256Digest Sha256::digest() const {
  // FIPS 180-4 section 5.1.1: a one bit, zeros, and the length in bits as 64 bits, big-endian.
  const std::size_t n_pending = n_bytes_ % 64;
  std::array<std::byte, 128> tail{};
  std::copy_n(block_.begin(), n_pending, tail.begin());
  tail[n_pending] = std::byte{0x80};
  const std::size_t n_tail = n_pending < 56 ? 64 : 128;
  for (std::size_t i = 0; i < 8; ++i) {
    tail[n_tail - 1 - i] = static_cast<std::byte>((n_bytes_ * 8) >> (8 * i));
  }
  std::array<std::uint32_t, 8> state = state_;
  compress(state, tail.data(), n_tail / 64);
  Sha256Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

std::string Sha256::hex_digest() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const std::uint8_t byte : digest()) {
    hex.push_back(kDigits[byte >> 4U]);
    hex.push_back(kDigits[byte & 15U]);
  }
  return hex;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex_digest();
}

}  // namespace deepwell
