// From what the user types to a model: names, aliases, `default`, paths and URLs.
#include <algorithm>
#include <chrono>
#include <future>
#include <thread>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/suggest.hpp"
#include "service/models/pull.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {

namespace {

/// Whether a hub that has `entry` says so within three seconds. All hubs are asked at once.
bool does_hub_answer(const CatalogueEntry& entry, const PullOptions& options) {
  constexpr std::chrono::milliseconds kLimit{3000};
  net::ClientOptions client = options.client;
  client.connect_timeout = std::min(client.connect_timeout, kLimit);
  client.read_timeout = std::min(client.read_timeout, kLimit);
  CancelSource stop;
  std::vector<std::future<bool>> answers;
  for (const ModelSource& source : entry.sources) {
    const bool is_hub =
        source.kind == SourceKind::kHuggingFace || source.kind == SourceKind::kModelScope;
    if (!is_hub) continue;
    answers.push_back(
        std::async(std::launch::async, [&source, &options, client, token = stop.get_token()] {
          return fetch_hub_manifest(source, options.get_env, client, token).has_value();
        }));
  }
  const std::int64_t deadline_ms = monotonic_ms() + kLimit.count();
  bool is_answered = false;
  for (std::future<bool>& answer : answers) {
    const std::chrono::milliseconds left(std::max<std::int64_t>(0, deadline_ms - monotonic_ms()));
    if (is_answered) break;
    if (answer.wait_for(left) == std::future_status::ready) is_answered = answer.get();
  }
  stop.request_stop();  // the futures' destructors wait for the threads
  return is_answered;
}

}  // namespace

bool is_location(std::string_view text) {
  return text.find("://") != std::string_view::npos || text.starts_with('/') ||
         text.starts_with('.') || text.starts_with('~') || lower_case(text).ends_with(".gguf");
}

Result<CatalogueEntry> entry_for_location(std::string_view location, std::string_view name) {
  CatalogueEntry entry;
  const bool is_url = location.find("://") != std::string_view::npos;
  if (name.empty()) {
    const std::string_view path =
        location.substr(0, is_url ? location.find_first_of("?#") : location.npos);
    std::string stem = lower_case(file_name_of(path));
    if (stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
    std::replace(stem.begin(), stem.end(), ' ', '-');
    entry.name = stem;
  } else {
    entry.name = name;
  }
  if (!is_model_name(entry.name)) {
    return invalid_argument(
        concat("'", entry.name,
               "' is no model name: give one with --name, of a-z, 0-9, '.', '-', '_' and ':'"));
  }
  ModelSource source;
  source.kind = is_url ? SourceKind::kUrl : SourceKind::kFile;
  source.location = location;
  entry.sources.push_back(std::move(source));
  return entry;
}

std::string resolve_default(const ModelStore& store, const Catalogue& catalogue,
                            const PullOptions& options) {
  const std::string& preferred = catalogue.preferred_default();
  const std::string& other = catalogue.default_without_hub();
  for (const std::string& name : {preferred, other}) {
    if (store.find(name)) return name;
  }
  const CatalogueEntry* entry = catalogue.find(preferred);
  if (entry != nullptr && !options.is_offline && does_hub_answer(*entry, options)) return preferred;
  if (options.say) {
    options.say(concat("no model hub answers: taking ", other, " instead of ", preferred));
  }
  return other;
}

Result<StoredModel> find_model(const ModelStore& store, const Catalogue& catalogue,
                               std::string_view name) {
  if (name == "default") {
    for (const std::string& candidate :
         {catalogue.preferred_default(), catalogue.default_without_hub()}) {
      Result<StoredModel> model = store.find(candidate);
      if (model || model.error().code != Code::kNotFound) return model;
    }
    return not_found("the default model is not here yet; try: deepwell pull default");
  }
  Result<StoredModel> own = store.find(lower_case(name));
  if (own || own.error().code != Code::kNotFound) return own;
  const CatalogueEntry* entry = catalogue.find(name);
  if (entry != nullptr) {
    Result<StoredModel> model = store.find(entry->name);
    if (model || model.error().code != Code::kNotFound) return model;
    return not_found(
        concat("model '", entry->name, "' is not here yet; try: deepwell pull ", entry->name));
  }
  std::vector<std::string> known = catalogue.names();
  DW_ASSIGN(const std::vector<StoredModel> stored, store.list());
  for (const StoredModel& model : stored) known.push_back(model.name);
  return not_found(concat("no model '", name, "'", did_you_mean(lower_case(name), known),
                          " (deepwell ls --all shows what there is)"));
}

}  // namespace deepwell::service
