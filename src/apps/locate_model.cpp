// Locating and pulling models for the commands.
#include "apps/locate_model.hpp"

#include "apps/model_path.hpp"
#include "apps/pull_display.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/suggest.hpp"
#include "service/models/content_hash.hpp"
#include "service/models/pull.hpp"

namespace deepwell::apps {

namespace {

using service::Catalogue;
using service::CatalogueEntry;
using service::ModelStore;
using service::StoredModel;

bool is_url(std::string_view text) { return text.find("://") != std::string_view::npos; }

Result<LocatedModel> locate_file(const Context& context, const std::string& path) {
  if (!is_file(path)) return not_found(concat("no model file ", path));
  PullDisplay display(false);
  const auto progress = [&](std::uint64_t n_done, std::uint64_t n_total) {
    display.show("hashing the model once", n_done, n_total);
  };
  DW_ASSIGN(const std::string sha256, service::content_hash(context.home, path, progress));
  std::string name = file_name_of(path);
  if (service::lower_case(name).ends_with(".gguf")) name.resize(name.size() - 5);
  return LocatedModel{name, path, sha256};
}

LocatedModel located(const StoredModel& model) { return {model.name, model.path, model.sha256}; }

}  // namespace

Result<StoredModel> pull_model(const Context& context, const std::string& name,
                               const std::string& as, bool is_forced, bool is_json) {
  const ModelStore store(context.home);
  DW_ASSIGN(const Catalogue catalogue, Catalogue::load(context.home));
  PullDisplay display(is_json);
  service::PullOptions options;
  options.is_offline = context.is_offline;
  options.is_forced = is_forced;
  display.connect(options);
  if (service::is_location(name)) {
    DW_ASSIGN(const CatalogueEntry entry, service::entry_for_location(name, as));
    return service::pull(store, entry, options);
  }
  if (!as.empty())
    return invalid_argument("--name is only for files and URLs; a catalogue model has its name");
  const std::string wanted =
      name == "default" ? service::resolve_default(store, catalogue, options) : name;
  const CatalogueEntry* entry = catalogue.find(wanted);
  if (entry == nullptr) {
    Result<StoredModel> stored = store.find(service::lower_case(wanted));
    if (stored) return display.say("up to date"), stored;
    const std::vector<std::string> known = catalogue.names();
    return not_found(
        concat("no model '", wanted, "' in the catalogue",
               did_you_mean(service::lower_case(wanted), known),
               " (deepwell ls --all shows it; a path or URL of a GGUF file works too)"));
  }
  return service::pull(store, *entry, options);
}

Result<LocatedModel> locate_model(const Context& context, const std::string& name,
                                  WhenAbsent when_absent) {
  if (name.empty()) return invalid_argument("no model given; use -m NAME or -m FILE.gguf");
  if (is_file(name) && (service::is_location(name) || name.find('/') != std::string::npos)) {
    return locate_file(context, name);
  }
  if (service::is_location(name) && !is_url(name)) return locate_file(context, name);
  const ModelStore store(context.home);
  DW_ASSIGN(const Catalogue catalogue, Catalogue::load(context.home));
  if (is_url(name)) {
    DW_ASSIGN(const CatalogueEntry entry, service::entry_for_location(name, ""));
    const Result<StoredModel> stored = store.find(entry.name);
    if (stored && stored->source == entry.sources.front().label()) return located(*stored);
  }
  const Result<StoredModel> here = service::find_model(store, catalogue, name);
  if (here) return located(*here);
  const bool can_pull = is_url(name) || name == "default" || catalogue.find(name) != nullptr;
  const bool may_pull =
      when_absent == WhenAbsent::kPull && here.error().code == Code::kNotFound && can_pull;
  if (!may_pull) return here.error();
  DW_ASSIGN(const StoredModel pulled, pull_model(context, name, "", false, false));
  return located(pulled);
}

Result<std::string> model_path(const Context& context, const std::string& name) {
  DW_ASSIGN(LocatedModel model, locate_model(context, name, WhenAbsent::kFail));
  return std::move(model.path);
}

Result<std::string> model_sha256(const Context& context, const std::string& path) {
  DW_ASSIGN(LocatedModel model, locate_file(context, path));
  return std::move(model.sha256);
}

}  // namespace deepwell::apps
