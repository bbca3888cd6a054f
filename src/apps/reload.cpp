// `deepwell reload`: a rolling change of program, model or configuration, without a refused
// connection or a cut answer.
#include "apps/command.hpp"
#include "apps/serve_settings.hpp"
#include "base/concat.hpp"
#include "cluster/supervisor/admin.hpp"

namespace deepwell::apps {
namespace {

struct Reload final : Command {
  std::uint32_t port = 8080;
  std::string run_directory;
  std::int64_t limit_s = 1500;

  void declare(OptionTable& table) override {
    table.add_integer("--port", &port, 0, 65535, "PORT", {"port of the server", "服务器的端口"});
    table.add_text("--run-dir", &run_directory, "DIR",
                   {"its run directory, if it was given one", "服务器的运行目录（如有指定）"});
    table.add_integer("--limit", &limit_s, 1, 24 * 3600, "SECONDS",
                      {"how long to wait for the end of the change", "等待更换完成的时间"});
  }

  Status run(const Context& context) override {
    if (run_directory.empty()) run_directory = default_run_directory(context, concat(port));
    const auto show = [](std::string_view line) { static_cast<void>(print_line(line)); };
    DW_ASSIGN(
        const std::vector<std::string> lines,
        cluster::ask_supervisor(run_directory, "reload", std::chrono::seconds(limit_s), show));
    (void)lines;
    return {};
  }
};

}  // namespace

extern const CommandEntry kCommand_reload;
const CommandEntry kCommand_reload = make_command<Reload>(
    "reload", {"change program, model or configuration of a running server without a gap",
               "不中断服务地更换程序、模型或配置"});

}  // namespace deepwell::apps
