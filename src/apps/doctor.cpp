// `deepwell doctor`: what this machine has, what Deepwell makes of it, and what is misconfigured.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "apps/bandwidth.hpp"
#include "apps/command.hpp"
#include "apps/doctor_report.hpp"
#include "apps/engine_options.hpp"
#include "apps/machine.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/device/cpu/isa.hpp"
#include "engine/runtime/host_limits.hpp"

namespace deepwell::apps {
namespace {

struct Doctor final : Command {
  std::int64_t port = 8080;
  bool use_bandwidth = true;
  bool is_json = false;

  void declare(OptionTable& table) override {
    table.add_integer("--port", &port, 0, 65535, "PORT",
                      {"the port that `serve` is to use", "serve 将使用的端口"});
    table.add_flag("--bandwidth", &use_bandwidth,
                   {"measure the memory (about a second)", "测量内存带宽（约一秒）"});
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context& context) override {
    Report report;
    const Machine machine = look_at_machine();
    check_processor(machine, report);
    check_memory(machine, report);
    check_home(context, report);
    report.ok("threads", choose_threads(context).explain());
    check_models(context, report);
    check_port(report);
    check_environment(context, report);
    DW_TRY(print_text(is_json ? report.json() : report.text()));
    if (!report.has_failure()) return {};
    return Error{Code::kFailedPrecondition, "something above needs attention first"};
  }

  static void check_processor(const Machine& machine, Report& report) {
    report.ok("processor", machine.processor.empty() ? "unknown" : machine.processor);
    std::string isas;
    for (const engine::Isa isa : engine::supported_isas()) {
      isas += concat(isas.empty() ? "" : ", ", engine::isa_name(isa));
    }
    const Result<engine::Isa> chosen = engine::choose_isa();
    if (chosen) {
      report.ok("instruction sets", concat(isas, "; chosen: ", engine::isa_name(*chosen)));
    } else {
      report.fail("instruction sets", concat(isas, "; ", chosen.error().message));
    }
    const std::string cores =
        concat(machine.n_cpus, " online, ", machine.n_usable_cpus, " usable here");
    if (machine.n_usable_cpus < machine.n_cpus) {
      report.warn("cores", concat(cores, ": affinity or a cgroup limits this process"));
    } else {
      report.ok("cores", cores);
    }
    report.ok("NUMA nodes", concat(machine.n_numa_nodes));
    if (machine.governor == "powersave") {
      report.warn("frequency",
                  "the governor is powersave; performance may be faster (cpupower frequency-set -g "
                  "performance)");
    }
  }

  void check_memory(const Machine& machine, Report& report) const {
    constexpr std::uint64_t kLittle = 1ULL << 30U;
    const std::uint64_t n_here = engine::available_memory_bytes();  // a cgroup may leave less
    const std::string memory =
        concat(format_bytes(machine.memory_bytes), ", ", format_bytes(machine.available_bytes),
               " available",
               n_here < machine.available_bytes / 2
                   ? concat(", ", format_bytes(n_here), " of them here (a cgroup)")
                   : std::string());
    if (n_here < kLittle) {
      report.warn("memory", concat(memory, ": little for a model"));
    } else {
      report.ok("memory", memory);
    }
    if (!use_bandwidth) return;
    const double gbps = measure_read_bandwidth_gbps(machine.n_usable_cpus);
    report.ok("memory read", concat(format_fixed(gbps, 1), " GB/s with ", machine.n_usable_cpus,
                                    " threads: a model of 1 GB decodes at most ",
                                    format_fixed(gbps, 0), " tokens/s"));
  }

  static void check_home(const Context& context, Report& report) {
    constexpr std::uint64_t kLittle = 2ULL << 30U;
    const Status made = make_directories(context.home);
    const std::string probe = join_path(context.home, concat(".doctor-", ::getpid()));
    const Status written = made ? write_file_atomic(probe, "") : made;
    (void)remove_file(probe);
    if (!written) {
      report.fail("home", concat(written.error().message,
                                 "; choose another place with --home or DEEPWELL_HOME"));
      return;
    }
    report.ok("home", context.home);
    const Result<std::uint64_t> n_free = free_disk_bytes(context.home);
    if (!n_free) {
      report.warn("disk", n_free.error().message);
    } else if (*n_free < kLittle) {
      report.warn("disk", concat(format_bytes(*n_free), " free: little for a model"));
    } else {
      report.ok("disk", concat(format_bytes(*n_free), " free"));
    }
  }

  void check_port(Report& report) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return report.warn("port", errno_error(errno, "open", "a socket").message);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int yes =
        1;  // as the server does: connections that linger from an earlier one do not count
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    const bool is_free =
        ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const int reason = errno;
    ::close(fd);
    if (is_free) {
      report.ok("port", concat(port, " is free"));
    } else if (reason == EADDRINUSE) {
      report.warn(
          "port",
          concat(port, " is in use (by a running server?); choose another one with --port"));
    } else {
      report.warn("port", errno_error(reason, "use port", concat(port)).message);
    }
  }

  static void check_environment(const Context& context, Report& report) {
    if (process_env("DEEPWELL_FORCE_ISA")) {
      report.warn(
          "environment",
          "DEEPWELL_FORCE_ISA is set: meant for tests, slower than the chosen instruction set");
    }
    if (process_env("OLLAMA_HOST")) {
      report.warn(
          "environment",
          "OLLAMA_HOST is set and not read (it also names remote servers); use --host and --port");
    }
    if (context.is_offline) report.ok("network", "offline: nothing will be downloaded");
  }
};

}  // namespace

extern const CommandEntry kCommand_doctor;
const CommandEntry kCommand_doctor =
    make_command<Doctor>("doctor", {"look at this machine and its set-up", "检查本机与配置"});

}  // namespace deepwell::apps
