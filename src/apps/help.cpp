// `deepwell help`: the list of commands.
#include "apps/command.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {
namespace {

struct Help final : Command {
  void declare(OptionTable&) override {}
  Status run(const Context& context) override { return print_text(program_help(context.language)); }
};

}  // namespace

extern const CommandEntry kCommand_help;
const CommandEntry kCommand_help =
    make_command<Help>("help", {"list the commands", "列出所有命令"});

}  // namespace deepwell::apps
