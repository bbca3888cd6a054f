// `deepwell pull`: brings a model into the store.
#include "apps/command.hpp"
#include "apps/locate_model.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {
namespace {

struct Pull final : Command {
  std::string model;
  std::string as;
  bool is_forced = false;
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_positional("MODEL", &model, true,
                         {"a catalogue name, `default`, a GGUF file, or the URL of one",
                          "目录中的名称、default、GGUF 文件或其网址"});
    table.add_text("--name", &as, "NAME",
                   {"what a file or URL is to be called", "文件或网址导入后的名称"});
    table.add_flag("--force", &is_forced,
                   {"pull again although the model is here", "已有该模型时仍重新获取"});
    table.add_flag("--json", &is_json,
                   {"progress as one JSON object a line", "逐行输出 JSON 进度"});
  }

  Status run(const Context& context) override {
    DW_ASSIGN(const service::StoredModel stored,
              pull_model(context, model, as, is_forced, is_json));
    (void)stored;
    return {};
  }
};

}  // namespace

extern const CommandEntry kCommand_pull;
const CommandEntry kCommand_pull =
    make_command<Pull>("pull", {"get a model and check it", "获取模型并校验"});

}  // namespace deepwell::apps
