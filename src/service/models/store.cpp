// Manifests and directories of the model store.
#include "service/models/store.hpp"

#include <array>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/models/catalogue.hpp"

namespace deepwell::service {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kManifest = "manifest.json";
constexpr std::string_view kModelFile = "model.gguf";

struct VerifiedName {
  Verified verified;
  std::string_view name;
};
constexpr std::array kVerifiedNames = {VerifiedName{Verified::kCatalogue, "catalogue"},
                                       VerifiedName{Verified::kPublisher, "publisher"},
                                       VerifiedName{Verified::kFirstUse, "first use"}};

Verified verified_of(std::string_view name) {
  for (const VerifiedName& entry : kVerifiedNames) {
    if (entry.name == name) return entry.verified;
  }
  return Verified::kFirstUse;
}

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

std::string_view verified_name(Verified verified) {
  for (const VerifiedName& entry : kVerifiedNames) {
    if (entry.verified == verified) return entry.name;
  }
  return "first use";
}

std::string ModelStore::directory_of_model(std::string_view name) const {
  return join_path(join_path(home_, "models"), name);
}

std::string ModelStore::file_of_model(std::string_view name) const {
  return join_path(directory_of_model(name), kModelFile);
}

Result<std::vector<StoredModel>> ModelStore::list() const {
  std::vector<StoredModel> models;
  const std::string root = join_path(home_, "models");
  if (!is_directory(root)) return models;
  DW_ASSIGN(const std::vector<std::string> names, list_directory(root));
  for (const std::string& name : names) {
    Result<StoredModel> model = find(name);
    if (model) {
      models.push_back(std::move(*model));
    } else if (model.error().code != Code::kNotFound) {
      return std::move(model).error();
    }
  }
  return models;
}

Result<StoredModel> ModelStore::find(std::string_view name) const {
  const Error absent =
      not_found(concat("model '", name, "' is not in ", join_path(home_, "models")));
  if (!is_model_name(name)) return absent;
  const std::string path = join_path(directory_of_model(name), kManifest);
  if (!is_file(path)) return absent;
  DW_ASSIGN(const std::string text, read_file(path, 1 << 20));
  const Json manifest = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const std::string advice = concat("; try: deepwell rm ", name, " && deepwell pull ", name);
  if (!manifest.is_object() || number_of(manifest, "version") != 1) {
    return data_loss(concat(path, " is damaged", advice));
  }
  StoredModel model;
  model.name = name;
  model.path = file_of_model(name);
  model.n_bytes = number_of(manifest, "bytes");
  model.sha256 = text_of(manifest, "sha256");
  model.verified = verified_of(text_of(manifest, "verified"));
  model.source = text_of(manifest, "source");
  model.license = text_of(manifest, "license");
  model.parameters = text_of(manifest, "parameters");
  model.quantization = text_of(manifest, "quantization");
  model.pulled_at_s = static_cast<std::int64_t>(number_of(manifest, "pulled_at_s"));
  const Result<FileIdentity> file = identify_file(model.path);
  if (!file) return data_loss(concat(model.path, " is missing", advice));
  if (file->n_bytes != model.n_bytes) {
    return data_loss(
        concat(model.path, " has ", file->n_bytes, " bytes instead of ", model.n_bytes, advice));
  }
  return model;
}

Status ModelStore::commit(const StoredModel& model) const {
  const Json manifest = {{"version", 1},
                         {"name", model.name},
                         {"bytes", model.n_bytes},
                         {"sha256", model.sha256},
                         {"verified", verified_name(model.verified)},
                         {"source", model.source},
                         {"license", model.license},
                         {"parameters", model.parameters},
                         {"quantization", model.quantization},
                         {"pulled_at_s", static_cast<std::uint64_t>(model.pulled_at_s)},
                         {"pulled_at", format_utc(model.pulled_at_s)}};
  const std::string text = manifest.dump(2, ' ', false, Json::error_handler_t::replace);
  return write_file_atomic(join_path(directory_of_model(model.name), kManifest),
                           concat(text, "\n"));
}

Status ModelStore::remove(std::string_view name) const {
  const std::string directory = directory_of_model(name);
  if (!is_model_name(name) || !is_directory(directory)) {
    return not_found(concat("model '", name, "' is not in ", join_path(home_, "models")));
  }
  DW_ASSIGN(const FileLock held, lock(name));
  // The manifest goes first: a removal that is cut short leaves no model that claims to be whole.
  DW_TRY(remove_file(join_path(directory, kManifest)));
  return remove_tree(directory);
}

Result<FileLock> ModelStore::lock(std::string_view name) const {
  const std::string locks = join_path(home_, "locks");
  DW_TRY(make_directories(locks));
  DW_TRY(make_directories(directory_of_model(name)));
  Result<FileLock> lock = FileLock::try_acquire(join_path(locks, name));
  if (!lock && lock.error().code == Code::kAborted) {
    return Error{
        Code::kAborted,
        concat("model '", name, "' is being pulled or removed by another process: wait for it")};
  }
  return lock;
}

}  // namespace deepwell::service
