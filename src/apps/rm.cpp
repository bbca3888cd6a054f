// `deepwell rm`: removes models from the store.
#include <unistd.h>

#include <cstdio>

#include "apps/command.hpp"
#include "apps/packed_image.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/store.hpp"

namespace deepwell::apps {
namespace {

struct Rm final : Command {
  std::vector<std::string> models;
  bool is_yes = false;

  void declare(OptionTable& table) override {
    table.add_rest("MODEL", &models, {"names of models in the store", "要删除的模型名称"});
    table.add_flag("-y,--yes", &is_yes, {"do not ask", "不询问"});
  }

  Status run(const Context& context) override {
    if (models.empty()) return invalid_argument("missing argument MODEL");
    const service::ModelStore store(context.home);
    DW_ASSIGN(const service::Catalogue catalogue, service::Catalogue::load(context.home));
    for (const std::string& model : models) {
      const service::CatalogueEntry* entry = catalogue.find(model);
      const std::string lower = service::lower_case(model);
      const std::string name = entry != nullptr && !store.find(lower) ? entry->name : lower;
      if (!is_yes) DW_TRY(ask(context, store, name));
      const Result<service::StoredModel> stored = store.find(name);
      DW_TRY(store.remove(name));
      if (stored) DW_TRY(remove_packed_image(context, stored->sha256));
      DW_TRY(print_line(concat("removed ", name)));
    }
    return {};
  }

  static Status ask(const Context& context, const service::ModelStore& store,
                    const std::string& name) {
    const Result<service::StoredModel> model = store.find(name);
    if (!model && model.error().code == Code::kNotFound)
      return {};  // remove() says so, or clears a broken pull
    if (::isatty(STDIN_FILENO) == 0)
      return invalid_argument(concat("removing ", name, " needs --yes where nobody can be asked"));
    const std::string amount = model ? concat(" (", format_bytes(model->n_bytes), ")") : "";
    const bool is_chinese = context.language == Language::kChinese;
    DW_TRY(print_text(concat(is_chinese ? "删除 " : "remove ", name, amount,
                             is_chinese ? "？[y/N] " : "? [y/N] ")));
    const int answer = std::fgetc(stdin);
    for (int c = answer; c != '\n' && c != EOF;) c = std::fgetc(stdin);
    if (answer == 'y' || answer == 'Y') return {};
    return Error{Code::kCancelled, concat("kept ", name)};
  }
};

}  // namespace

extern const CommandEntry kCommand_rm;
const CommandEntry kCommand_rm = make_command<Rm>("rm", {"remove models", "删除模型"});

}  // namespace deepwell::apps
