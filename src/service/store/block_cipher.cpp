// Key derivation, names and sealing, all by OpenSSL.
#include "service/store/block_cipher.hpp"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::service {

namespace {

constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kMaxTenants = 1024;  // whose keys are at hand

const unsigned char* in(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* out(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// HKDF-SHA256 of `secret` for the purpose `info`, without salt: the secret is random already.
Status derive(std::span<const std::byte> secret, std::string info, std::span<std::byte> key) {
  EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(kdf);
  std::string digest = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), digest.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<std::byte*>(secret.data()),
                                        secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  const bool is_derived =
      context != nullptr && EVP_KDF_derive(context, out(key), key.size(), parameters) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  if (!is_derived) return internal_error("this OpenSSL cannot derive keys (HKDF)");
  return {};
}

Result<BlockSecret> read_secret(const std::string& path) {
  DW_ASSIGN(const std::string text, read_file(path, 4096));
  BlockSecret secret;
  if (text.size() != secret.size()) {
    return data_loss(concat("the key file ", path, " has ", text.size(), " bytes instead of ",
                            secret.size(), "; remove it, and what it was for is begun anew"));
  }
  std::memcpy(secret.data(), text.data(), secret.size());
  return secret;
}

}  // namespace

Result<BlockSecret> load_or_make_block_secret(const std::string& path) {
  if (is_file(path)) return read_secret(path);
  BlockSecret secret;
  if (RAND_bytes(out(secret), static_cast<int>(secret.size())) != 1)
    return internal_error("the system has no random numbers for a key");
  const std::string draft = concat(path, ".", random_hex(8));
  const std::string_view text(reinterpret_cast<const char*>(secret.data()), secret.size());
  DW_TRY(write_file_atomic(draft, text, 0600));
  // Whoever links first has made the key, whole and for everybody.
  const int failure = ::link(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
  DW_TRY(remove_file(draft));
  if (failure != 0 && failure != EEXIST) return errno_error(failure, "make", path);
  return read_secret(path);
}

struct BlockCipher::Context {
  EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new();
  EVP_CIPHER* algorithm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);

  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    EVP_CIPHER_CTX_free(cipher);
    EVP_CIPHER_free(algorithm);
  }
};

BlockCipher::BlockCipher(const BlockSecret& secret, std::string fingerprint)
    : secret_(secret),
      fingerprint_(std::move(fingerprint)),
      context_(std::make_unique<Context>()) {}

BlockCipher::~BlockCipher() = default;

Result<std::unique_ptr<BlockCipher>> BlockCipher::create(const BlockSecret& secret,
                                                         std::string fingerprint) {
  std::unique_ptr<BlockCipher> cipher(new BlockCipher(secret, std::move(fingerprint)));
  if (cipher->context_->cipher == nullptr || cipher->context_->algorithm == nullptr)
    return internal_error("this OpenSSL lacks AES-256-GCM");
  DW_TRY(derive(cipher->secret_, "deepwell kv names 1", cipher->naming_key_));
  return cipher;
}

BlockCipher::RowKey BlockCipher::mac(std::string_view what, std::span<const std::byte> of) const {
  std::vector<std::byte> message(bytes_of(what).begin(), bytes_of(what).end());
  message.push_back(std::byte{0});
  message.insert(message.end(), of.begin(), of.end());
  std::array<std::byte, 32> digest{};
  unsigned int n_bytes = 0;
  HMAC(EVP_sha256(), naming_key_.data(), static_cast<int>(naming_key_.size()), in(message),
       message.size(), out(digest), &n_bytes);
  RowKey key;
  std::copy_n(digest.begin(), key.size(), key.begin());
  return key;
}

BlockCipher::RowKey BlockCipher::row_key(const engine::BlockName& name) const {
  return mac("block", std::as_bytes(std::span(name.bytes)));
}
BlockCipher::RowKey BlockCipher::tenant_key(std::string_view tenant) const {
  return mac("tenant", bytes_of(tenant));
}
BlockCipher::RowKey BlockCipher::key_check() const { return mac("check", {}); }

Result<const BlockCipher::Key*> BlockCipher::key_of(const std::string& tenant) {
  const auto known = keys_.find(tenant);
  if (known != keys_.end()) return &known->second;
  if (keys_.size() >= kMaxTenants) keys_.clear();
  Key key;
  DW_TRY(derive(secret_, concat("deepwell kv tenant 1 ", tenant), key));
  return &keys_.emplace(tenant, key).first->second;
}

/// Sets key and nonce, and binds the label.
Status BlockCipher::begin(bool is_sealing, const engine::BlockLabel& label,
                          std::span<const std::byte> nonce) {
  DW_ASSIGN(const Key* const key, key_of(label.tenant));
  std::vector<std::byte> bound;
  const auto bind = [&](std::span<const std::byte> bytes) {
    bound.insert(bound.end(), bytes.begin(), bytes.end());
  };
  bind(bytes_of("deepwell kv block 1"));
  bind(std::as_bytes(std::span(label.name.bytes)));
  bind(std::as_bytes(std::span(label.parent.bytes)));
  bind(std::as_bytes(std::span(label.ids)));
  bind(bytes_of(fingerprint_));  // the only one of no fixed length: last
  int n_bytes = 0;
  const bool is_begun = EVP_CipherInit_ex(context_->cipher, context_->algorithm, nullptr, in(*key),
                                          in(nonce), is_sealing ? 1 : 0) == 1 &&
                        EVP_CipherUpdate(context_->cipher, nullptr, &n_bytes, in(bound),
                                         static_cast<int>(bound.size())) == 1;
  if (!is_begun) return internal_error("AES-256-GCM cannot begin");
  return {};
}

Status BlockCipher::seal(const engine::BlockLabel& label, std::span<const std::byte> bytes,
                         std::vector<std::byte>& sealed) {
  sealed.resize(bytes.size() + kOverheadBytes);
  const auto nonce = std::span(sealed).first(kNonceBytes);
  const auto text = std::span(sealed).subspan(kNonceBytes, bytes.size());
  const auto tag = std::span(sealed).last(kTagBytes);
  if (RAND_bytes(out(nonce), static_cast<int>(nonce.size())) != 1)
    return unavailable("the system has no random numbers");
  DW_TRY(begin(true, label, nonce));
  int n_bytes = 0;
  const bool is_sealed =
      EVP_CipherUpdate(context_->cipher, out(text), &n_bytes, in(bytes),
                       static_cast<int>(bytes.size())) == 1 &&
      EVP_CipherFinal_ex(context_->cipher, out(tag), &n_bytes) == 1 &&
      EVP_CIPHER_CTX_ctrl(context_->cipher, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) == 1;
  if (!is_sealed) return internal_error("AES-256-GCM cannot seal");
  return {};
}

Status BlockCipher::open(const engine::BlockLabel& label, std::span<const std::byte> sealed,
                         std::span<std::byte> bytes) {
  if (sealed.size() != bytes.size() + kOverheadBytes) {
    return data_loss(concat("a sealed block has ", sealed.size(), " bytes instead of ",
                            bytes.size() + kOverheadBytes));
  }
  DW_TRY(begin(false, label, sealed.first(kNonceBytes)));
  std::array<std::byte, kTagBytes> tag{};
  std::ranges::copy(sealed.last(kTagBytes), tag.begin());
  int n_bytes = 0;
  std::array<std::byte, kTagBytes> rest{};
  const bool is_right =
      EVP_CipherUpdate(context_->cipher, out(bytes), &n_bytes, in(sealed.subspan(kNonceBytes)),
                       static_cast<int>(bytes.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context_->cipher, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_CipherFinal_ex(context_->cipher, out(rest), &n_bytes) == 1;
  if (!is_right) return data_loss("a sealed block is not what was sealed under its label");
  return {};
}

}  // namespace deepwell::service
