// `deepwell version`: which program this is.
#include "apps/command.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {
namespace {

struct Version final : Command {
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context&) override {
    if (is_json) return print_line(concat("{\"version\":\"", DEEPWELL_VERSION, "\"}"));
    return print_line(concat("deepwell ", DEEPWELL_VERSION));
  }
};

}  // namespace

extern const CommandEntry kCommand_version;
const CommandEntry kCommand_version =
    make_command<Version>("version", {"print the version", "显示版本"});

}  // namespace deepwell::apps
