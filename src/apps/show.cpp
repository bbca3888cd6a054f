// `deepwell show`: what a model is, out of its file and the store.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/columns.hpp"
#include "apps/command.hpp"
#include "apps/locate_model.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/utf8.hpp"
#include "engine/gguf/gguf.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/store.hpp"

namespace deepwell::apps {
namespace {

using Json = nlohmann::json;
using engine::GgufFile;

struct Show final : Command {
  std::string model;
  bool is_template = false;
  bool is_all = false;
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_positional("MODEL", &model, true, {"a name or a GGUF file", "名称或 GGUF 文件"});
    table.add_flag("--template", &is_template, {"print the chat template", "打印对话模板"});
    table.add_flag("-a,--all", &is_all, {"every key of the file", "文件中的所有键"});
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context& context) override {
    const Result<LocatedModel> located = locate_model(context, model, WhenAbsent::kFail);
    if (!located) return show_catalogue_entry(context, located.error());
    DW_ASSIGN(const std::unique_ptr<GgufFile> file, GgufFile::open(located->path));
    if (is_template) {
      DW_ASSIGN(const std::string_view text, file->get_string("tokenizer.chat_template"));
      return print_line(text);
    }
    const std::vector<std::vector<std::string>> rows = describe(context, *located, *file);
    if (!is_json) return print_text(format_columns(rows));
    Json root;
    for (const std::vector<std::string>& row : rows) root[row[0]] = row[1];
    return print_line(root.dump(2, ' ', false, Json::error_handler_t::replace));
  }

  std::vector<std::vector<std::string>> describe(const Context& context,
                                                 const LocatedModel& located,
                                                 const GgufFile& file) const {
    std::vector<std::vector<std::string>> rows = {{"name", located.name},
                                                  {"file", located.path},
                                                  {"size", format_bytes(file.file_bytes())},
                                                  {"sha256", located.sha256}};
    const Result<service::StoredModel> stored =
        service::ModelStore(context.home).find(located.name);
    if (stored && stored->path == located.path) {
      rows.push_back({"source", stored->source});
      rows.push_back({"checked against", std::string(service::verified_name(stored->verified))});
      rows.push_back({"license", stored->license});
      rows.push_back({"pulled", format_utc(stored->pulled_at_s)});
    }
    const std::string architecture(file.get_string("general.architecture").value_or("?"));
    rows.push_back({"architecture", architecture});
    std::uint64_t n_params = 0;
    for (const engine::GgufTensor& tensor : file.tensors()) n_params += tensor.n_elements();
    rows.push_back(
        {"parameters", concat(format_fixed(static_cast<double>(n_params) / 1e6, 1), " M")});
    for (const auto& [label, key] :
         {std::pair{"context", "context_length"}, std::pair{"layers", "block_count"},
          std::pair{"embedding", "embedding_length"}, std::pair{"heads", "attention.head_count"},
          std::pair{"kv heads", "attention.head_count_kv"}}) {
      const std::string full = concat(architecture, ".", key);
      if (file.has(full)) rows.push_back({label, file.describe(full)});
    }
    rows.push_back({"tensor types", tensor_types(file)});
    rows.push_back({"chat template",
                    file.has("tokenizer.chat_template") ? "yes (--template prints it)" : "none"});
    if (is_all) {
      for (const std::string& key : file.keys())
        rows.push_back({key, sanitized_utf8(file.describe(key))});
    }
    return rows;
  }

  /// "Q4_K x168, Q5_0 x12": how many tensors are stored in which type.
  static std::string tensor_types(const GgufFile& file) {
    std::vector<std::pair<std::string, int>> counts;
    for (const engine::GgufTensor& tensor : file.tensors()) {
      const std::string name(engine::quant_type_name(tensor.type));
      const auto found = std::find_if(counts.begin(), counts.end(),
                                      [&](const auto& entry) { return entry.first == name; });
      if (found == counts.end())
        counts.emplace_back(name, 1);
      else
        ++found->second;
    }
    std::string out;
    for (const auto& [name, n] : counts) out += concat(out.empty() ? "" : ", ", name, " x", n);
    return out;
  }

  Status show_catalogue_entry(const Context& context, const Error& absent) const {
    DW_ASSIGN(const service::Catalogue catalogue, service::Catalogue::load(context.home));
    const service::CatalogueEntry* entry = catalogue.find(model);
    if (entry == nullptr || is_template || is_json) return absent;
    std::vector<std::vector<std::string>> rows = {
        {"name", entry->name},
        {"description", std::string(entry->description(context.language))},
        {"size", format_bytes(entry->n_bytes)},
        {"sha256", entry->sha256},
        {"license", entry->license},
        {"parameters", entry->parameters},
        {"quantization", entry->quantization}};
    for (const service::ModelSource& source : entry->sources)
      rows.push_back({"source", source.label()});
    rows.push_back({"here", concat("no; try: deepwell pull ", entry->name)});
    return print_text(format_columns(rows));
  }
};

}  // namespace

extern const CommandEntry kCommand_show;
const CommandEntry kCommand_show =
    make_command<Show>("show", {"show what a model is", "查看模型信息"});

}  // namespace deepwell::apps
