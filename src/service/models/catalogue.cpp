// Reading the catalogue: every field checked, because a site may write its own.
#include "service/models/catalogue.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/utf8.hpp"

namespace deepwell::service {

namespace {

using Json = nlohmann::json;

struct KindName {
  SourceKind kind;
  std::string_view name;
};
constexpr std::array kKindNames = {
    KindName{SourceKind::kHuggingFace, "huggingface"},
    KindName{SourceKind::kModelScope, "modelscope"}, KindName{SourceKind::kUrl, "url"},
    KindName{SourceKind::kFile, "file"}, KindName{SourceKind::kPackages, "packages"}};

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Reads members of one object and notes the first thing that is wrong, so that callers stay plain.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) fail("expected an object");
  }

  std::string text(const char* key, bool is_required) {
    const Json* value = member(key, is_required);
    if (value == nullptr || value->is_null()) return {};
    if (!value->is_string()) return fail(concat("'", key, "' must be a string")), std::string();
    const std::string result = value->get<std::string>();
    if (is_required && result.empty()) fail(concat("'", key, "' is empty"));
    return result;
  }

  std::uint64_t number(const char* key) {
    const Json* value = member(key, false);
    if (value == nullptr || value->is_null()) return 0;
    if (!value->is_number_unsigned()) return fail(concat("'", key, "' must be a whole number")), 0;
    return value->get<std::uint64_t>();
  }

  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> result;
    for (const Json& element : array(key, false)) {
      if (!element.is_string()) return fail(concat("'", key, "' must hold strings")), result;
      result.push_back(element.get<std::string>());
    }
    return result;
  }

  const Json& array(const char* key, bool is_required) {
    static const Json kEmpty = Json::array();
    const Json* value = member(key, is_required);
    if (value == nullptr) return kEmpty;
    if (!value->is_array()) return fail(concat("'", key, "' must be a list")), kEmpty;
    return *value;
  }

  const Json& object(const char* key) {
    static const Json kEmpty = Json::object();
    const Json* value = member(key, true);
    return value == nullptr ? kEmpty : *value;
  }

  void allow_only(std::initializer_list<std::string_view> keys) {
    if (!object_.is_object()) return;
    for (const auto& [key, value] : object_.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        fail(concat("unknown key '", key, "'"));
    }
  }

  void fail(std::string_view what) {
    if (status_) status_ = invalid_argument(concat(where_, ": ", what));
  }
  const Status& status() const { return status_; }

 private:
  const Json* member(const char* key, bool is_required) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    if (is_required) fail(concat("'", key, "' is missing"));
    return nullptr;
  }

  const Json& object_;
  std::string where_;
  Status status_;
};

Result<PackagePart> read_part(const Json& json, const std::string& where) {
  Reader reader(json, where);
  reader.allow_only({"package", "version", "path"});
  PackagePart part;
  part.package = reader.text("package", true);
  part.version = reader.text("version", true);
  part.path = reader.text("path", true);
  // They become arguments of another program: a name with a dash in front would be an option there.
  const auto is_plain = [](std::string_view text) {
    return !text.starts_with('-') &&
           text.find_first_not_of(
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+!") ==
               std::string_view::npos;
  };
  if (!is_plain(part.package) || !is_plain(part.version)) {
    reader.fail("a package name or version has characters that none may have");
  }
  DW_TRY(Status(reader.status()));
  return part;
}

Result<ModelSource> read_source(const Json& json, const std::string& where) {
  Reader reader(json, where);
  reader.allow_only({"kind", "repo", "file", "revision", "url", "path", "packages"});
  ModelSource source;
  const std::string kind = reader.text("kind", true);
  const auto* const named = std::find_if(kKindNames.begin(), kKindNames.end(),
                                         [&](const KindName& entry) { return entry.name == kind; });
  if (named == kKindNames.end()) reader.fail(concat("unknown kind '", kind, "'"));
  DW_TRY(Status(reader.status()));
  source.kind = named->kind;
  switch (source.kind) {
    case SourceKind::kHuggingFace:
    case SourceKind::kModelScope:
      source.repo = reader.text("repo", true);
      source.file = reader.text("file", true);
      source.revision = reader.text("revision", false);
      break;
    case SourceKind::kUrl:
      source.location = reader.text("url", true);
      break;
    case SourceKind::kFile:
      source.location = reader.text("path", true);
      break;
    case SourceKind::kPackages:
      for (const Json& part : reader.array("packages", true)) {
        DW_ASSIGN(PackagePart read, read_part(part, where));
        source.parts.push_back(std::move(read));
      }
      if (source.parts.empty()) reader.fail("'packages' is empty");
      break;
  }
  DW_TRY(Status(reader.status()));
  return source;
}

Result<CatalogueEntry> read_entry(const Json& json, const std::string& origin) {
  CatalogueEntry entry;
  {
    Reader name_reader(json, origin);
    entry.name = name_reader.text("name", true);
    DW_TRY(Status(name_reader.status()));
  }
  const std::string where = concat(origin, ", model '", sanitized_utf8(entry.name), "'");
  Reader reader(json, where);
  reader.allow_only({"name", "aliases", "parameters", "quantization", "architecture", "license",
                     "bytes", "sha256", "description", "sources"});
  entry.aliases = reader.texts("aliases");
  entry.parameters = reader.text("parameters", false);
  entry.quantization = reader.text("quantization", false);
  entry.architecture = reader.text("architecture", false);
  entry.license = reader.text("license", true);
  entry.sha256 = reader.text("sha256", false);
  entry.n_bytes = reader.number("bytes");
  Reader description(reader.object("description"), concat(where, ", description"));
  entry.description_en = description.text("en", true);
  entry.description_zh = description.text("zh", true);
  if (!is_model_name(entry.name))
    reader.fail("the name may hold only a-z, 0-9, '.', '-', '_' and ':'");
  for (const std::string& alias : entry.aliases) {
    if (!is_model_name(alias)) reader.fail(concat("the alias '", alias, "' is no model name"));
  }
  if (!entry.sha256.empty() && (entry.sha256.size() != 64 || !is_hex(entry.sha256))) {
    reader.fail("'sha256' must be 64 lower-case hexadecimal digits or null");
  }
  for (const Json& source : reader.array("sources", true)) {
    DW_ASSIGN(ModelSource read, read_source(source, where));
    entry.sources.push_back(std::move(read));
  }
  if (entry.sources.empty()) reader.fail("'sources' is empty");
  DW_TRY(Status(reader.status()));
  DW_TRY(Status(description.status()));
  return entry;
}

}  // namespace

std::string ModelSource::label() const {
  for (const KindName& entry : kKindNames) {
    if (entry.kind != kind || kind == SourceKind::kPackages) continue;
    const bool is_hub = kind == SourceKind::kHuggingFace || kind == SourceKind::kModelScope;
    return concat(entry.name, " ", is_hub ? repo : location);
  }
  const std::string first =
      parts.empty() ? "" : concat(" ", parts.front().package, " ", parts.front().version);
  return parts.size() > 1 ? concat("python packages", first, " and ", parts.size() - 1, " more")
                          : concat("python package", first);
}

bool is_model_name(std::string_view name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789.-_:";
  return !name.empty() && name.size() <= 128 && name.front() != '.' && name.front() != '-' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

Result<Catalogue> Catalogue::parse(std::string_view json, std::string_view origin) {
  const Json root = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return invalid_argument(concat(origin, ": not valid JSON"));
  Reader reader(root, std::string(origin));
  reader.allow_only({"version", "default", "models"});
  if (reader.number("version") != 1) reader.fail("'version' must be 1");
  Catalogue catalogue;
  if (root.is_object() && root.contains("default")) {
    Reader names(reader.object("default"), concat(origin, ", default"));
    names.allow_only({"preferred", "without_hub"});
    catalogue.preferred_default_ = names.text("preferred", true);
    catalogue.default_without_hub_ = names.text("without_hub", true);
    DW_TRY(Status(names.status()));
  }
  for (const Json& model : reader.array("models", true)) {
    DW_ASSIGN(CatalogueEntry entry, read_entry(model, std::string(origin)));
    std::vector<std::string> own_names = entry.aliases;
    own_names.push_back(entry.name);
    for (const std::string& name : own_names) {
      if (catalogue.find(name) != nullptr)
        reader.fail(concat("the name '", name, "' occurs twice"));
    }
    catalogue.entries_.push_back(std::move(entry));
  }
  DW_TRY(Status(reader.status()));
  return catalogue;
}

Result<Catalogue> Catalogue::load(const std::string& home) {
  constexpr std::size_t kMaxBytes = 4 << 20;
  DW_ASSIGN(Catalogue ours, parse(detail::kCatalogueJson, "the built-in catalogue"));
  const std::string path = join_path(home, "catalogue.json");
  if (!is_file(path)) return ours;
  DW_ASSIGN(const std::string text, read_file(path, kMaxBytes));
  DW_ASSIGN(Catalogue site, parse(text, path));
  for (CatalogueEntry& entry : ours.entries_) {
    const bool is_replaced =
        std::any_of(site.entries_.begin(), site.entries_.end(),
                    [&](const CatalogueEntry& own) { return own.name == entry.name; });
    if (!is_replaced) site.entries_.push_back(std::move(entry));
  }
  if (site.preferred_default_.empty()) {
    site.preferred_default_ = ours.preferred_default_;
    site.default_without_hub_ = ours.default_without_hub_;
  }
  return site;
}

const CatalogueEntry* Catalogue::find(std::string_view name) const {
  const std::string wanted = lower_case(name);
  for (const CatalogueEntry& entry : entries_) {
    if (entry.name == wanted) return &entry;
  }
  for (const CatalogueEntry& entry : entries_) {
    if (std::find(entry.aliases.begin(), entry.aliases.end(), wanted) != entry.aliases.end())
      return &entry;
  }
  return nullptr;
}

std::vector<std::string> Catalogue::names() const {
  std::vector<std::string> names;
  for (const CatalogueEntry& entry : entries_) {
    names.push_back(entry.name);
    names.insert(names.end(), entry.aliases.begin(), entry.aliases.end());
  }
  return names;
}

}  // namespace deepwell::service
