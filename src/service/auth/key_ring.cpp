// Reading of the key file, and the comparison of keys in constant time.
#include "service/auth/key_ring.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <set>

#include "base/concat.hpp"
#include "base/suggest.hpp"

namespace deepwell::service {

namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '@';
}

}  // namespace

Result<KeyRing> KeyRing::open(const KeySource& source, Log& log) {
  KeyRing ring;
  if (!source.api_key.empty()) DW_TRY(ring.add("default", source.api_key, "the API key"));
  if (!source.key_file_path.empty()) DW_TRY(ring.read_file(source.key_file_path, log));
  for (const std::string& line : source.tenant_weights) DW_TRY(ring.add_weight(line));
  return ring;
}

std::optional<Principal> KeyRing::find(std::string_view key) const {
  const Digest digest = digest_of(key);
  const Entry* found = nullptr;
  for (const Entry& entry :
       entries_) {  // no early exit: time must not tell how many entries differ
    const bool is_equal = CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    found = is_equal ? &entry : found;
  }
  if (found == nullptr) return std::nullopt;
  return Principal{.tenant = found->tenant, .subject = found->subject, .scopes = Scopes::all()};
}

std::vector<std::string> KeyRing::tenants() const {
  std::set<std::string> tenants;
  for (const Entry& entry : entries_) tenants.insert(entry.tenant);
  return {tenants.begin(), tenants.end()};
}

std::size_t KeyRing::n_tenants() const { return tenants().size(); }

KeyRing::Digest KeyRing::digest_of(std::string_view key) {
  Digest digest{};
  unsigned int n_bytes = 0;
  const int is_ok =
      EVP_Digest(key.data(), key.size(), digest.data(), &n_bytes, EVP_sha256(), nullptr);
  DW_CHECK(is_ok == 1 && n_bytes == digest.size(), "SHA-256 is not available in OpenSSL");
  return digest;
}

Status KeyRing::add(std::string_view name, std::string_view key, std::string_view where) {
  const std::string_view tenant = name.substr(0, name.find('/'));
  const std::string_view subject =
      name.substr(tenant.size() == name.size() ? 0 : tenant.size() + 1);
  if (tenant.empty() || subject.empty()) {
    return invalid_argument(concat(where, ": the name before `=` is empty"));
  }
  for (const std::string_view part : {tenant, subject}) {
    if (std::all_of(part.begin(), part.end(), is_name_char)) continue;
    return invalid_argument(
        concat(where,
               ": the name may hold only letters, digits and - _ . @, and one / "
               "behind a tenant"));
  }
  if (key.empty()) return invalid_argument(concat(where, ": the key of '", name, "' is empty"));
  if (key.find_first_of(" \t") != std::string_view::npos) {
    return invalid_argument(concat(where, ": the key of '", name, "' holds a blank"));
  }
  const Digest digest = digest_of(key);
  for (const Entry& entry : entries_) {
    if (entry.tenant == tenant && entry.subject == subject) {
      return invalid_argument(concat(where, ": the name '", name, "' is given twice"));
    }
    if (entry.digest == digest) {
      return invalid_argument(
          concat(where, ": '", name, "' has the same key as '", entry.subject, "'"));
    }
  }
  entries_.push_back(
      {.tenant = std::string(tenant), .subject = std::string(subject), .digest = digest});
  return {};
}

Status KeyRing::add_weight(std::string_view line) {
  const auto equals = line.find('=');
  if (equals == std::string_view::npos) {
    return invalid_argument(concat("--tenant-weight: expected NAME=N, got '", line, "'"));
  }
  const std::string_view tenant = trimmed(line.substr(0, equals));
  const std::string_view number = trimmed(line.substr(equals + 1));
  std::uint32_t weight = 0;
  const char* const end = number.data() + number.size();
  const auto parsed = std::from_chars(number.data(), end, weight);
  if (parsed.ec != std::errc() || parsed.ptr != end || weight < 1 || weight > kMaxTenantWeight) {
    return invalid_argument(concat("--tenant-weight: the weight of '", tenant,
                                   "' must be a whole number from 1 to ", kMaxTenantWeight,
                                   ", got '", number, "'"));
  }
  const std::vector<std::string> known = tenants();
  if (known.empty()) {
    return invalid_argument(concat("--tenant-weight: without keys there is no tenant '", tenant,
                                   "': give --api-key-file"));
  }
  if (!std::binary_search(known.begin(), known.end(), tenant)) {
    return invalid_argument(concat("--tenant-weight: no key belongs to a tenant '", tenant, "'",
                                   did_you_mean(tenant, known)));
  }
  if (!weights_.emplace(tenant, weight).second) {
    return invalid_argument(concat("--tenant-weight: '", tenant, "' is given twice"));
  }
  return {};
}

Status KeyRing::read_file(const std::string& path, Log& log) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return not_found(concat("no key file '", path, "': make it with lines of `name = key`"));
  }
  std::ifstream file(path);
  if (!S_ISREG(info.st_mode) || !file) {
    return {Error{.code = Code::kPermissionDenied,
                  .message = concat("cannot read key file '", path, "'")}};
  }
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    log.warn("key file '", path, "' can be used by other users of this machine: chmod 600 it");
  }
  const std::size_t n_before = entries_.size();
  std::string line;
  for (int n_line = 1; std::getline(file, line); ++n_line) {
    const std::string_view text = trimmed(line);
    if (text.empty() || text.front() == '#') continue;
    const std::string where = concat("key file '", path, "', line ", n_line);
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) {
      return invalid_argument(concat(where, ": expected `name = key`"));
    }
    DW_TRY(add(trimmed(text.substr(0, equals)), trimmed(text.substr(equals + 1)), where));
  }
  if (file.bad()) return data_loss(concat("key file '", path, "' could not be read to its end"));
  if (entries_.size() == n_before) {
    // An empty file must not silently mean "no key needed".
    return invalid_argument(concat("key file '", path, "' holds no key"));
  }
  return {};
}

}  // namespace deepwell::service
