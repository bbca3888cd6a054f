// `deepwell ls`: the models that are here, or with --all what the catalogue offers.
#include <nlohmann/json.hpp>

#include "apps/columns.hpp"
#include "apps/command.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/store.hpp"

namespace deepwell::apps {
namespace {

using Json = nlohmann::json;

std::string format_age(std::int64_t seconds) {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return concat(seconds / 60, " min ago");
  if (seconds < 86400) return concat(seconds / 3600, " h ago");
  return concat(seconds / 86400, " days ago");
}

struct Ls final : Command {
  bool is_all = false;
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_flag("-a,--all", &is_all,
                   {"also what the catalogue offers", "同时列出目录中可获取的模型"});
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context& context) override {
    const service::ModelStore store(context.home);
    DW_ASSIGN(const std::vector<service::StoredModel> models, store.list());
    DW_ASSIGN(const service::Catalogue catalogue, service::Catalogue::load(context.home));
    if (is_json) return print_json(models, catalogue);
    std::vector<std::vector<std::string>> rows = {{"NAME", "ID", "SIZE", "QUANTIZATION", "PULLED"}};
    for (const service::StoredModel& model : models) {
      rows.push_back({model.name, model.sha256.substr(0, 12), format_bytes(model.n_bytes),
                      model.quantization, format_age(wall_clock_s() - model.pulled_at_s)});
    }
    if (models.empty() && !is_all) {
      return print_line(
          context.language == Language::kChinese
              ? "还没有模型；试试：deepwell pull default（deepwell ls --all 列出可获取的模型）"
              : "no models yet; try: deepwell pull default (deepwell ls --all shows what there "
                "is)");
    }
    if (!models.empty()) DW_TRY(print_text(format_columns(rows)));
    return is_all ? print_catalogue(context, store, catalogue) : Status();
  }

  static Status print_catalogue(const Context& context, const service::ModelStore& store,
                                const service::Catalogue& catalogue) {
    std::vector<std::vector<std::string>> rows = {{"AVAILABLE", "SIZE", "LICENSE", "DESCRIPTION"}};
    for (const service::CatalogueEntry& entry : catalogue.entries()) {
      if (store.find(entry.name)) continue;
      rows.push_back({entry.name, entry.n_bytes > 0 ? format_bytes(entry.n_bytes) : "?",
                      entry.license, std::string(entry.description(context.language))});
    }
    if (rows.size() == 1) return {};
    return print_text(concat("\n", format_columns(rows)));
  }

  Status print_json(const std::vector<service::StoredModel>& models,
                    const service::Catalogue& catalogue) const {
    Json root = {{"models", Json::array()}};
    for (const service::StoredModel& model : models) {
      root["models"].push_back({{"name", model.name},
                                {"bytes", model.n_bytes},
                                {"sha256", model.sha256},
                                {"verified", service::verified_name(model.verified)},
                                {"source", model.source},
                                {"license", model.license},
                                {"quantization", model.quantization},
                                {"path", model.path},
                                {"pulled_at", format_utc(model.pulled_at_s)}});
    }
    if (is_all) {
      root["catalogue"] = Json::array();
      for (const service::CatalogueEntry& entry : catalogue.entries()) {
        root["catalogue"].push_back({{"name", entry.name},
                                     {"aliases", entry.aliases},
                                     {"bytes", entry.n_bytes},
                                     {"sha256", entry.sha256},
                                     {"license", entry.license},
                                     {"parameters", entry.parameters},
                                     {"quantization", entry.quantization}});
      }
    }
    return print_line(root.dump(2, ' ', false, Json::error_handler_t::replace));
  }
};

}  // namespace

extern const CommandEntry kCommand_ls;
const CommandEntry kCommand_ls = make_command<Ls>("ls", {"list models", "列出模型"}, "list");

}  // namespace deepwell::apps
