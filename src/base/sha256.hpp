// SHA-256 (FIPS 180-4): the checksum that decides whether a model file is the one it claims to be.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace deepwell {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// Hashes a stream of bytes. Uses the processor's SHA instructions where it has them.
class Sha256 {
 public:
  Sha256();

  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes) { update(std::as_bytes(std::span(bytes))); }

  /// The digest of everything so far. The stream may go on afterwards.
  Sha256Digest digest() const;
  std::string hex_digest() const;

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::byte, 64> block_{};  // the last, incomplete block
  std::uint64_t n_bytes_ = 0;
};

/// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

/// Whether the SHA instructions are used here (for `doctor` and for tests of both paths).
bool has_sha_instructions();

namespace detail {
using Sha256Compress = void (*)(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                                std::size_t n_blocks);
/// The two ways to hash blocks, for the test that compares them.
void sha256_compress_portable(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                              std::size_t n_blocks);
/// Null where the processor has no SHA instructions.
Sha256Compress sha256_compress_accelerated();
extern const std::array<std::uint32_t, 64> kSha256Constants;
}  // namespace detail

}  // namespace deepwell
