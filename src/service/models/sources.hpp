// The ways to get a model file. A new way is one file and one line in sources.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/cancel.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/text.hpp"
#include "net/client.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/content_hash.hpp"

namespace deepwell::service {

/// What a source is told, and whom it tells.
struct FetchContext {
  std::string directory;                      // for partial files; stays between attempts
  std::string partial_path;                   // where the whole file is to end up, unchecked
  std::uint64_t n_bytes = 0;                  // of the catalogue; 0: unknown
  std::string sha256;                         // of the catalogue; empty: unknown
  Progress progress;                          // bytes of the model file (or of its packages) so far
  std::function<void(std::string_view)> say;  // one line for the user
  GetEnv get_env = process_env;
  net::ClientOptions client;
  CancelToken cancel;
};

/// What a source got. The file lies at FetchContext::partial_path.
struct Fetched {
  std::string published_sha256;  // what the source itself says the file hashes to; empty: nothing
};

/// One way. Errors are what stands behind the source's name when the next one is tried.
struct SourceFetcher {
  SourceKind kind;
  bool needs_network;
  /// Gets the file, continuing what an earlier attempt left where that is possible. Leaves nothing
  /// that cannot be continued.
  Result<Fetched> (*fetch)(const ModelSource& source, const FetchContext& context);
};

/// The one for a kind; every kind has one.
const SourceFetcher& fetcher_of(SourceKind kind);

/// kResourceExhausted with both numbers if the file system has no room for so many further bytes.
Status check_disk_space(const std::string& directory, std::uint64_t n_bytes_needed);

/// GETs `url` into the partial file, continuing it if it came from the same URL and the server
/// still has the same file; tries again a few times while bytes keep coming.
Status download(const std::string& url, const FetchContext& context);

/// The address of a hub source's file, and of what says its checksum.
struct HubAddress {
  std::string file_url;
  std::string manifest_url;
};
HubAddress hub_address(const ModelSource& source, const GetEnv& get_env);

/// What a hub publishes about the file. Errors: any failure of the request; kNotFound if the hub
/// does not know it.
struct HubManifest {
  std::string sha256;
  std::uint64_t n_bytes = 0;
};
Result<HubManifest> fetch_hub_manifest(const ModelSource& source, const GetEnv& get_env,
                                       const net::ClientOptions& client, CancelToken cancel);

}  // namespace deepwell::service
