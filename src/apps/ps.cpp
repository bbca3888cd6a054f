// `deepwell ps`: the processes of a running server.
#include "apps/command.hpp"
#include "apps/serve_settings.hpp"
#include "base/concat.hpp"
#include "cluster/supervisor/admin.hpp"

namespace deepwell::apps {
namespace {

constexpr std::chrono::seconds kLimit{5};

struct Ps final : Command {
  std::uint32_t port = 8080;
  std::string run_directory;

  void declare(OptionTable& table) override {
    table.add_integer("--port", &port, 0, 65535, "PORT", {"port of the server", "服务器的端口"});
    table.add_text("--run-dir", &run_directory, "DIR",
                   {"its run directory, if it was given one", "服务器的运行目录（如有指定）"});
  }

  Status run(const Context& context) override {
    if (run_directory.empty()) run_directory = default_run_directory(context, concat(port));
    DW_ASSIGN(const std::vector<std::string> lines,
              cluster::ask_supervisor(run_directory, "status", kLimit));
    for (const std::string& line : lines) DW_TRY(print_line(line));
    return {};
  }
};

}  // namespace

extern const CommandEntry kCommand_ps;
const CommandEntry kCommand_ps =
    make_command<Ps>("ps", {"the processes of a running server", "查看运行中服务的各进程"});

}  // namespace deepwell::apps
