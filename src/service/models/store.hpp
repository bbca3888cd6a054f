// ModelStore: the models that are here, each a directory `<home>/models/<name>/` with a manifest
// and one file. Layout: docs/model-store.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/result.hpp"

namespace deepwell::service {

/// Against what the content was checked when it came.
enum class Verified : std::uint8_t {
  kCatalogue,  // the catalogue's SHA-256
  kPublisher,  // the SHA-256 that the source itself publishes
  kFirstUse,   // nothing to check against: what came is recorded and trusted from then on
};

struct StoredModel {
  std::string name;
  std::string path;  // of the model file
  std::uint64_t n_bytes = 0;
  std::string sha256;
  Verified verified = Verified::kFirstUse;
  std::string source;   // label of where it came from
  std::string license;  // empty: unknown
  std::string parameters;
  std::string quantization;
  std::int64_t pulled_at_s = 0;  // since 1970
};

/// Knows only the file system; thread-safe, as far as other processes are concerned through the
/// model's lock.
class ModelStore {
 public:
  explicit ModelStore(std::string home) : home_(std::move(home)) {}

  const std::string& home() const { return home_; }
  std::string directory_of_model(std::string_view name) const;
  std::string file_of_model(std::string_view name) const;

  /// Every complete model, by name. A directory without a manifest is a pull that has not finished
  /// and is left out.
  Result<std::vector<StoredModel>> list() const;
  /// Errors: kNotFound; kDataLoss (the manifest is damaged, or the file is missing or has another
  /// length).
  Result<StoredModel> find(std::string_view name) const;
  /// Writes the manifest: from then on the model exists.
  Status commit(const StoredModel& model) const;
  /// Removes the model and whatever an unfinished pull left. Errors: kNotFound; kAborted while it
  /// is being pulled.
  Status remove(std::string_view name) const;
  /// Keeps other processes from pulling or removing the model. Makes its directory. Error:
  /// kAborted, naming the model.
  Result<FileLock> lock(std::string_view name) const;

 private:
  std::string home_;
};

/// "catalogue", "publisher", "first use": as the manifest and `ls` spell it.
std::string_view verified_name(Verified verified);

}  // namespace deepwell::service
