// `deepwell drill`: something goes wrong on a running system under load, and the report says what became of every
// answer. The list of drills is here.
#include "apps/drill.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "apps/columns.hpp"
#include "apps/command.hpp"
#include "apps/drill_run.hpp"
#include "apps/interrupts.hpp"
#include "apps/serve_settings.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/suggest.hpp"

namespace deepwell::apps {

extern const Drill kDrill_clock_step;
extern const Drill kDrill_disk_full;
extern const Drill kDrill_fd_exhaust;
extern const Drill kDrill_kill_front;
extern const Drill kDrill_kill_worker;
extern const Drill kDrill_net_cut;
extern const Drill kDrill_oom;
extern const Drill kDrill_slow_disk;
extern const Drill kDrill_stall_front;
extern const Drill kDrill_stall_worker;

std::span<const Drill* const> drills() {
  static constexpr std::array kDrills = {
      &kDrill_kill_worker, &kDrill_stall_worker, &kDrill_kill_front, &kDrill_stall_front,
      &kDrill_net_cut,     &kDrill_disk_full,    &kDrill_slow_disk,  &kDrill_oom,
      &kDrill_fd_exhaust,  &kDrill_clock_step,
  };
  return kDrills;
}

namespace {

struct DrillCommand final : Command {
  std::string name;
  std::uint32_t port = 8080;
  std::string host = "127.0.0.1";
  std::string api_key;
  DrillOptions options;
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_positional("NAME", &name, false,
                         {"which drill; without: the list of them", "演练名称；省略则列出全部"});
    table.add_integer("--port", &port, 1, 65535, "PORT", {"port of the server", "服务器的端口"});
    table.add_text(
        "--host", &host, "ADDRESS",
        {"its address; the drill must run on its machine", "服务器地址；演练须在其所在机器上进行"});
    table.add_text("--api-key", &api_key, "KEY",
                   {"the key that the server asks for", "服务器要求的密钥"});
    table.add_text("--run-dir", &options.run_directory, "DIR",
                   {"its run directory, if it was given one", "服务器的运行目录（如有指定）"});
    declare_load(table);
    declare_permissions(table);
    table.add_flag("--json", &is_json, {"print the report as JSON", "以 JSON 输出报告"});
  }

  void declare_load(OptionTable& table) {
    table.add_integer("--streams", &options.n_streams, 1, 100'000, "N",
                      {"streams at once", "同时进行的流数"});
    table.add_integer("--distinct", &options.n_distinct, 1, 100'000, "N",
                      {"different requests, asked in turn", "不同请求的个数，轮流使用"});
    table.add_integer("--max-tokens", &options.max_tok, 1, 1 << 24, "N",
                      {"tokens of an answer", "每个回答的词元数"});
    table.add_integer("--prompt-tokens", &options.n_prompt_tok, 1, 1 << 24, "N",
                      {"tokens of a prompt, about", "提示的词元数（约）"});
    table.add_real("--pace-ms", &options.pace_ms, 0, 60'000, "MS",
                   {"time between two tokens of the source, if it is known",
                    "来源两个词元之间的间隔（如已知）"});
    table.add_integer(
        "--seconds", &options.seconds, 1, 7 * 24 * 3600, "S",
        {"how long the load goes on from the first strike on", "首次打击后负载持续的时间"});
    table.add_integer("--every", &options.every_s, 0, 24 * 3600, "S",
                      {"strike again so often; 0: once", "重复打击的间隔；0 表示仅一次"});
    table.add_integer("--hold", &options.hold_s, 1, 3600, "S",
                      {"how long a deed that can be undone lasts", "可撤销的故障持续的时间"});
    table.add_flag("--reattach", &options.use_reattach,
                   {"clients come back for the rest of an answer", "客户端断开后续接回答"});
    table.add_real("--pause-limit-ms", &options.pause_limit_ms, 0, 3'600'000, "MS",
                   {"longest pause (p99) that passes, instead of the drill's own; 0: that",
                    "允许的最长停顿（p99）；0 表示采用该演练的默认值"});
  }

  void declare_permissions(OptionTable& table) {
    table.add_text("--journal", &options.journal_path, "FILE",
                   {"the server's journal, if it was given one", "服务器的日志文件（如有指定）"});
    table.add_integer("--may-fill-mb", &options.may_fill_mb, 0, 1 << 30, "MB",
                      {"the journal's file system may be filled or frozen if it is not larger",
                       "日志所在文件系统不超过此大小时，允许将其写满或冻结"});
    table.add_flag(
        "--may-step-clock", &options.may_step_clock,
        {"the clock of this machine may be set (as root)", "允许调整本机时钟（需 root）"});
    table.add_text("--cut-interface", &options.interface, "NAME",
                   {"a veth towards a remote worker whose link may be taken down",
                    "通往远程工作进程的 veth 接口，允许断开"});
  }

  Status run(const Context& context) override {
    if (name.empty()) return list(context);
    DW_ASSIGN(const Drill* const drill, find());
    const std::string server = concat(port);
    if (options.run_directory.empty())
      options.run_directory = default_run_directory(context, server);
    if (options.journal_path.empty()) {
      options.journal_path = join_path(context.home, concat("journal/", server, ".db"));
    }
    Interrupts interrupts;
    bool is_interrupted = false;
    const auto ask = [&] { return is_interrupted = is_interrupted || interrupts.take(); };
    LoadTarget target;
    target.host = host;
    target.port = static_cast<std::uint16_t>(port);
    target.api_key = api_key;
    DW_ASSIGN(const DrillReport report, run_drill(*drill, options, target, ask, *context.log));
    if (is_json) {
      DW_TRY(print_line(report.to_json().dump(2)));
    } else {
      DW_TRY(print_text(report.to_text(context.language)));
    }
    return report.outcome();
  }

  Result<const Drill*> find() const {
    std::vector<std::string> names;
    for (const Drill* drill : drills()) {
      if (drill->name == name) return drill;
      names.emplace_back(drill->name);
    }
    return invalid_argument(concat("there is no drill '", name, "'", did_you_mean(name, names)));
  }

  static Status list(const Context& context) {
    std::vector<std::vector<std::string>> rows;
    for (const Drill* drill : drills()) {
      rows.push_back({std::string(drill->name), std::string(drill->summary.in(context.language))});
    }
    return print_text(format_columns(rows));
  }
};

}  // namespace

extern const CommandEntry kCommand_drill;
const CommandEntry kCommand_drill = make_command<DrillCommand>(
    "drill", {"let something go wrong on a running server under load, and see what becomes of it",
              "在负载下对运行中的服务制造故障，并检验结果"});

}  // namespace deepwell::apps
