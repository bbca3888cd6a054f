// pull(): brings a model into the store: sources in order, checksum before the file gets its name,
// one pull at a time.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/cancel.hpp"
#include "base/result.hpp"
#include "base/text.hpp"
#include "net/client.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/content_hash.hpp"
#include "service/models/store.hpp"

namespace deepwell::service {

/// How a pull talks to whoever started it; both are called on the caller's thread.
struct PullOptions {
  bool is_offline = false;  // only sources on this machine are tried
  bool is_forced = false;   // pull again although the model is here
  std::function<void(std::string_view line)>
      say;  // "pulling manifest", why a source failed, "success"
  /// The bar under `label` ("huggingface unsloth/…", "verifying sha256 digest").
  std::function<void(std::string_view label, std::uint64_t n_done, std::uint64_t n_total)> progress;
  GetEnv get_env = process_env;
  net::ClientOptions client;
  CancelToken cancel;
};

/// Brings `entry` into the store, or finds it there. Errors: kAborted (another process is at it),
/// kCancelled, kResourceExhausted (disk full), kDataLoss (what came has another checksum), and if
/// every source failed, the last source's code with a line for each source. No file ever has the
/// model's name unless its checksum was right.
Result<StoredModel> pull(const ModelStore& store, const CatalogueEntry& entry,
                         const PullOptions& options);

/// An entry for something that is in no catalogue: a path to a GGUF file or an https URL of one.
/// `name`: how it is to be called; empty: the file's name without its end. Error: kInvalidArgument
/// (no usable name).
Result<CatalogueEntry> entry_for_location(std::string_view location, std::string_view name);
/// Whether `text` is a path or URL rather than a name: it holds "://", starts with '/', '.' or '~',
/// or ends with ".gguf".
bool is_location(std::string_view text);

/// Which model `default` means: one of the two candidates that is here already (the preferred one
/// first); else the preferred one if a hub answers within three seconds; else the other one, and
/// `say` tells why.
std::string resolve_default(const ModelStore& store, const Catalogue& catalogue,
                            const PullOptions& options);

/// The model that `name` (a name, an alias or `default`) means, if it is in the store. Errors:
/// kNotFound, saying how to get it, or which name was perhaps meant.
Result<StoredModel> find_model(const ModelStore& store, const Catalogue& catalogue,
                               std::string_view name);

}  // namespace deepwell::service
