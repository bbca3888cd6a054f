// `deepwell serve`: a model behind the HTTP API, as a supervisor over a front and workers.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "apps/command.hpp"
#include "apps/locate_model.hpp"
#include "apps/serve_settings.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/listen_socket.hpp"
#include "cluster/supervisor/supervisor.hpp"
#include "edge/serve.hpp"
#include "edge/stop_signals.hpp"

namespace deepwell::apps {
namespace {

struct Serve final : Command {
  ServeSettings settings;

  void declare(OptionTable& table) override { settings.declare(table); }

  Status run(const Context& context) override {
    // A wrong flag is told before the model is loaded, not minutes later.
    DW_ASSIGN(const service::KeyRing checked,
              edge::check_serve_options(settings.serving, *context.log));
    (void)checked;
    raise_descriptor_limit();
    if (!settings.worker_lines.empty() && settings.worker_tls.cert_file.empty()) {
      return invalid_argument(
          "workers on other machines are reached by mutual TLS: give --worker-ca, --worker-cert "
          "and "
          "--worker-key");
    }
    const std::uint16_t port = settings.serving.port;
    DW_TRY(settings.finish(context, port == 0 ? concat("pid-", ::getpid()) : concat(port)));
    if (settings.n_workers == 0 && settings.remote_workers.empty()) return run_alone(context);
    return run_supervisor(context);
  }

  /// Every child gets our own arguments and, behind them, where this server's files are: a later
  /// option wins.
  Status run_supervisor(const Context& context) {
    if (!settings.is_synthetic && settings.n_workers > 0) {
      DW_ASSIGN(const LocatedModel located,
                locate_model(context, settings.model.model, WhenAbsent::kPull));
      DW_TRY(settings.draft.check(context, located.path));
      context.log->info("starting ", located.name, " in ", settings.n_workers, " worker",
                        settings.n_workers == 1 ? "" : "s");
    }
    DW_ASSIGN(ListenSocket socket,
              open_listen_socket(settings.serving.host, settings.serving.port));
    cluster::SupervisorOptions options;
    DW_ASSIGN(options.program, own_path());
    options.arguments = context.arguments;
    options.arguments.insert(options.arguments.end(), {"--run-dir", settings.run_directory,
                                                       "--journal", settings.serving.journal.path});
    options.run_directory = settings.run_directory;
    options.listen_fd = std::move(socket.fd);
    options.worker_memory_bytes = static_cast<std::uint64_t>(settings.worker_memory_mb) << 20;
    options.roster.n_workers = settings.n_workers;
    options.roster.drain_timeout = settings.serving.drain_timeout;
    return cluster::supervise(std::move(options), *context.log);
  }

  /// A connection is a descriptor: as many as we may have. The children inherit it.
  static void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
  }

  static Result<std::string> own_path() {
    char path[4096];
    const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0) return errno_error(errno, "read", "/proc/self/exe");
    return std::string(path, static_cast<std::size_t>(n));
  }

  /// `--workers 0`: one process, for small machines.
  Status run_alone(const Context& context) {
    edge::StopSignals signals;  // before any thread: threads inherit its mask
    DW_ASSIGN(const std::unique_ptr<engine::Generator> generator, open_engine(context, signals));
    edge::ServeOptions& serving = settings.serving;
    serving.on_listening = [&context](const edge::Listening& listening) {
      report_listening(context, listening);
    };
    serving.wait_stop = [&signals](std::chrono::milliseconds limit) { return signals.wait(limit); };
    return edge::serve(serving, *generator, *context.log);
  }

  Result<std::unique_ptr<engine::Generator>> open_engine(const Context& context,
                                                         edge::StopSignals& signals) {
    if (settings.is_synthetic) {
      return std::unique_ptr<engine::Generator>(
          std::make_unique<cluster::SyntheticGenerator>(settings.synthetic_options()));
    }
    DW_ASSIGN(const LocatedModel located,
              locate_model(context, settings.model.model, WhenAbsent::kPull));
    DW_ASSIGN(engine::EngineOptions options, settings.engine_options(context, located));
    options.load.on_progress = [&, show = loading_progress(located.name)](double fraction) {
      if (show) show(fraction);
      // Nothing is running yet: leaving in the middle of loading needs no care.
      if (signals.wait(std::chrono::milliseconds(0)) != edge::StopRequest::kNone) std::_Exit(130);
    };
    DW_ASSIGN(auto engine, engine::Engine::open(std::move(options), *context.log));
    report_engine(context, *engine);
    return std::unique_ptr<engine::Generator>(std::move(engine));
  }
};

}  // namespace

extern const CommandEntry kCommand_serve;
const CommandEntry kCommand_serve = make_command<Serve>(
    "serve", {"serve a model over HTTP (OpenAI API)", "通过 HTTP 提供模型服务（OpenAI API）"});

}  // namespace deepwell::apps
