// SHA-256 against the examples of FIPS 180-4 and NIST's test vectors, over both ways to hash
// blocks.
#include "base/sha256.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace deepwell {
namespace {

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheStreamIsCut) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text.push_back(static_cast<char>(i * 37));
  const std::string whole = sha256_hex(text);
  for (const std::size_t n_piece : {1U, 7U, 63U, 64U, 65U, 127U, 500U}) {
    Sha256 hash;
    for (std::size_t at = 0; at < text.size(); at += n_piece) {
      hash.update(std::string_view(text).substr(at, n_piece));
    }
    EXPECT_EQ(hash.hex_digest(), whole) << n_piece;
  }
}

TEST(Sha256, GoesOnAfterADigest) {
  Sha256 hash;
  hash.update("ab");
  EXPECT_NE(hash.hex_digest(), sha256_hex("abc"));
  hash.update("c");
  EXPECT_EQ(hash.hex_digest(), sha256_hex("abc"));
}

TEST(Sha256, AcceleratedBlocksEqualPortableOnes) {
  const detail::Sha256Compress accelerated = detail::sha256_compress_accelerated();
  if (accelerated == nullptr) GTEST_SKIP() << "this processor has no SHA instructions";
  std::vector<std::byte> blocks(64 * 33);
  std::uint32_t noise = 1;
  for (std::byte& byte : blocks)
    byte = static_cast<std::byte>((noise = noise * 1664525U + 1013904223U) >> 24U);
  for (const std::size_t n_blocks : {0U, 1U, 2U, 33U}) {
    std::array<std::uint32_t, 8> one = {1, 2, 3, 4, 5, 6, 7, 0xffffffff};
    std::array<std::uint32_t, 8> other = one;
    detail::sha256_compress_portable(one, blocks.data(), n_blocks);
    accelerated(other, blocks.data(), n_blocks);
    EXPECT_EQ(one, other) << n_blocks;
  }
}

}  // namespace
}  // namespace deepwell
