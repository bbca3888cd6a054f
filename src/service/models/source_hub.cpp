// Model hubs: Hugging Face and ModelScope. Both publish a file's SHA-256 before one byte of it is
// downloaded.
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {
namespace {

using Json = nlohmann::json;

/// `variable` of the environment as the hub's address, with https:// in front if it is only a host.
std::string endpoint(const GetEnv& get_env, std::string_view variable, std::string_view usual) {
  std::string address = get_env(variable).value_or(std::string(usual));
  while (address.ends_with('/')) address.pop_back();
  return address.find("://") == std::string::npos ? concat("https://", address) : address;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The value after "key " on a line of its own.
std::string_view line_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (line.starts_with(key)) return line.substr(key.size());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

/// A Git LFS pointer: "version …\noid sha256:…\nsize …\n" (git-lfs, docs/spec.md).
Result<HubManifest> parse_lfs_pointer(std::string_view text) {
  HubManifest manifest;
  manifest.sha256 = line_value(text, "oid sha256:");
  for (const char c : line_value(text, "size ")) {
    if (c < '0' || c > '9') break;
    manifest.n_bytes = manifest.n_bytes * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (!text.starts_with("version https://git-lfs") || !is_sha256(manifest.sha256)) {
    return not_found("the hub's answer is no LFS pointer");
  }
  return manifest;
}

/// ModelScope's list of files: {"Data": {"Files": [{"Path", "Sha256", "Size"}]}}.
Result<HubManifest> parse_modelscope_files(const std::string& text, const std::string& file) {
  const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto member = [](const Json& json, const char* key) -> Json {
    return json.is_object() && json.contains(key) ? json.at(key) : Json();
  };
  for (const Json& entry : member(member(root, "Data"), "Files")) {
    const Json path = member(entry, "Path");
    const Json sha256 = member(entry, "Sha256");
    const Json n_bytes = member(entry, "Size");
    if (!path.is_string() || path.get<std::string>() != file || !sha256.is_string()) continue;
    HubManifest manifest{sha256.get<std::string>(), 0};
    if (n_bytes.is_number_unsigned()) manifest.n_bytes = n_bytes.get<std::uint64_t>();
    if (is_sha256(manifest.sha256)) return manifest;
  }
  return not_found(concat("the hub lists no file ", file));
}

Result<Fetched> fetch_hub(const ModelSource& source, const FetchContext& context) {
  DW_ASSIGN(const HubManifest manifest,
            fetch_hub_manifest(source, context.get_env, context.client, context.cancel));
  // Known before the download: better to learn now that the hub has another file than the catalogue
  // means.
  if (!context.sha256.empty() && manifest.sha256 != context.sha256) {
    return Error{Code::kFailedPrecondition,
                 concat("the hub now has another file (sha256 ", manifest.sha256,
                        ") than the catalogue means (", context.sha256, ")")};
  }
  DW_TRY(download(hub_address(source, context.get_env).file_url, context));
  return Fetched{manifest.sha256};
}

}  // namespace

HubAddress hub_address(const ModelSource& source, const GetEnv& get_env) {
  if (source.kind == SourceKind::kModelScope) {
    // MODELSCOPE_DOMAIN is the variable of ModelScope's own client.
    const std::string base = endpoint(get_env, "MODELSCOPE_DOMAIN", "www.modelscope.cn");
    const std::string revision = source.revision.empty() ? "master" : source.revision;
    return {concat(base, "/models/", source.repo, "/resolve/", revision, "/", source.file),
            concat(base, "/api/v1/models/", source.repo, "/repo/files?Revision=", revision,
                   "&Recursive=true")};
  }
  // HF_ENDPOINT is the variable of Hugging Face's own client, for mirrors.
  const std::string base = endpoint(get_env, "HF_ENDPOINT", "https://huggingface.co");
  const std::string revision = source.revision.empty() ? "main" : source.revision;
  return {concat(base, "/", source.repo, "/resolve/", revision, "/", source.file),
          concat(base, "/", source.repo, "/raw/", revision, "/", source.file)};
}

Result<HubManifest> fetch_hub_manifest(const ModelSource& source, const GetEnv& get_env,
                                       const net::ClientOptions& client, CancelToken cancel) {
  constexpr std::uint64_t kMaxBytes = 4 << 20;
  const HubAddress address = hub_address(source, get_env);
  DW_ASSIGN(
      const net::HttpClient::Collected answer,
      net::HttpClient(client).request("GET", address.manifest_url, {}, "", kMaxBytes, cancel));
  if (answer.response.status != 200) {
    const bool is_absent = answer.response.status == 404 || answer.response.status == 401;
    return Error{
        is_absent ? Code::kNotFound : Code::kUnavailable,
        concat("the hub answered ", answer.response.status, " for ", address.manifest_url)};
  }
  if (source.kind == SourceKind::kModelScope)
    return parse_modelscope_files(answer.body, source.file);
  return parse_lfs_pointer(answer.body);
}

extern const SourceFetcher kSource_huggingface;
extern const SourceFetcher kSource_modelscope;
const SourceFetcher kSource_huggingface = {SourceKind::kHuggingFace, true, fetch_hub};
const SourceFetcher kSource_modelscope = {SourceKind::kModelScope, true, fetch_hub};

}  // namespace deepwell::service
