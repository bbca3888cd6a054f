// `deepwell worker`: one engine, served to fronts. Started by the supervisor of `deepwell serve`, or
// by hand on another machine.
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "apps/command.hpp"
#include "apps/locate_model.hpp"
#include "apps/serve_settings.hpp"
#include "apps/supervised.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "cluster/worker/worker_server.hpp"
#include "edge/stop_signals.hpp"
#include "engine/runtime/crash_page.hpp"

namespace deepwell::apps {
namespace {

using cluster::ControlKind;
using std::chrono::milliseconds;

constexpr milliseconds kLook{50};

struct Worker final : Command {
  ServeSettings settings;
  std::uint32_t index = 0;
  std::uint64_t epoch = 0;
  std::string socket;
  std::string listen;
  int control_fd = -1;
  int crash_fd = -1;
  int kv_fd = -1;
  int image_fd = -1;

  void declare(OptionTable& table) override {
    settings.declare(table);
    table.add_text("--listen", &listen, "HOST:PORT",
                   {"serve fronts of other machines (needs --worker-ca, -cert, -key)",
                    "供其他机器的前端连接（需要 --worker-ca、-cert、-key）"});
    const Text internal = {"given by the supervisor", "由监管进程给出"};
    table.add_integer("--worker-index", &index, 0, 1 << 20, "N", internal);
    table.add_integer("--worker-epoch", &epoch, 0, INT64_MAX, "N", internal);
    table.add_text("--socket", &socket, "PATH", internal);
    table.add_integer("--control-fd", &control_fd, -1, 1 << 20, "N", internal);
    table.add_integer("--crash-fd", &crash_fd, -1, 1 << 20, "N", internal);
    table.add_integer("--kv-fd", &kv_fd, -1, 1 << 20, "N", internal);
    table.add_integer("--image-fd", &image_fd, -1, 1 << 20, "N", internal);
  }

  Status run(const Context& context) override {
    if (socket.empty() && listen.empty()) {
      return invalid_argument("say where fronts find this worker: --listen HOST:PORT");
    }
    if (socket.empty() && settings.worker_tls.cert_file.empty()) {
      return invalid_argument(
          "a worker on the network must prove who it is: give --worker-ca, --worker-cert and "
          "--worker-key");
    }
    // A core dump would hold conversations, and would keep the sockets of a dead worker open for as
    // long as it is written.
    ::prctl(PR_SET_DUMPABLE, 0);
    edge::StopSignals signals;  // before any thread: threads inherit its mask
    std::atomic<bool> is_draining{false};
    std::atomic<std::int64_t> drain_limit_s{settings.shutdown_timeout_s};
    std::unique_ptr<Supervised> supervised;
    if (control_fd >= 0) {
      supervised = std::make_unique<Supervised>(
          control_fd, *context.log, [&](const cluster::ControlMessage& message) {
            if (message.kind != ControlKind::kDrain) return;
            drain_limit_s = limit_of(message, std::chrono::seconds(drain_limit_s)).count();
            is_draining = true;
          });
    }
    cluster::WorkerServerOptions serving{
        .address = socket.empty() ? listen : concat("unix:", socket),
        .tls = socket.empty() ? &settings.worker_tls : nullptr,
        .n_parallel = settings.n_parallel,
        .n_max_waiting = settings.n_max_waiting};
    std::unique_ptr<engine::Generator> generator;
    if (settings.is_synthetic) {
      DW_ASSIGN(generator, make_synthetic());
    } else {
      DW_ASSIGN(auto engine, open_engine(context, supervised.get(), signals));
      serving.vocabulary = [&engine = *engine] { return engine.vocabulary(); };
      generator = std::move(engine);
    }
    DW_ASSIGN(const auto server,
              cluster::WorkerServer::start(std::move(serving), *generator, *context.log));
    if (supervised != nullptr) supervised->send({.kind = ControlKind::kReady});
    serve_until_stopped(signals, is_draining, drain_limit_s, *server);
    return {};
  }

  /// A stop lets what fronts still want come to its end; a second one does not.
  void serve_until_stopped(edge::StopSignals& signals, const std::atomic<bool>& is_draining,
                           const std::atomic<std::int64_t>& drain_limit_s,
                           cluster::WorkerServer& server) const {
    SteadyTime drain_until = SteadyTime::max();
    for (;;) {
      const edge::StopRequest stop = signals.wait(kLook);
      if (stop == edge::StopRequest::kNow) return;
      // A supervisor sends SIGTERM when nobody needs this worker, and kDrain when somebody may.
      if (stop != edge::StopRequest::kNone && control_fd >= 0) return;
      const bool shall_drain = stop != edge::StopRequest::kNone || is_draining;
      const auto now = std::chrono::steady_clock::now();
      if (shall_drain && drain_until == SteadyTime::max()) {
        server.set_draining();
        drain_until = now + std::chrono::seconds(drain_limit_s);
      }
      const bool is_done = server.n_held() == 0 || now >= drain_until;
      if (drain_until != SteadyTime::max() && is_done) return;
    }
  }

  Result<engine::CrashPage*> map_crash_page() const {
    if (crash_fd < 0) return static_cast<engine::CrashPage*>(nullptr);
    void* page =
        ::mmap(nullptr, sizeof(engine::CrashPage), PROT_READ | PROT_WRITE, MAP_SHARED, crash_fd, 0);
    if (page == MAP_FAILED) return errno_error(errno, "map", "the crash page");
    return static_cast<engine::CrashPage*>(page);  // for the process's life
  }

  Result<std::unique_ptr<engine::Generator>> make_synthetic() const {
    cluster::SyntheticOptions options = settings.synthetic_options();
    DW_ASSIGN(options.crash_page, map_crash_page());
    return std::unique_ptr<engine::Generator>(
        std::make_unique<cluster::SyntheticGenerator>(std::move(options)));
  }

  Result<std::unique_ptr<engine::Engine>> open_engine(const Context& context,
                                                      Supervised* supervised,
                                                      edge::StopSignals& signals) {
    DW_ASSIGN(const LocatedModel located,
              locate_model(context, settings.model.model, WhenAbsent::kPull));
    DW_ASSIGN(engine::EngineOptions options, settings.engine_options(context, located));
    DW_ASSIGN(options.crash_page, map_crash_page());
    options.keeps_tokenizer = false;  // only fronts have text
    options.load.kv_fd = kv_fd;
    options.load.image_fd = image_fd;

    options.load.on_progress = [supervised, &signals, percent = -1](double fraction) mutable {
      // Nothing is running yet: leaving in the middle of loading needs no care.
      if (signals.wait(std::chrono::milliseconds(0)) != edge::StopRequest::kNone) std::_Exit(0);
      const int now = static_cast<int>(100.0 * fraction);
      if (supervised == nullptr || now == percent) return;
      percent = now;
      supervised->send({.kind = ControlKind::kLoading, .progress = fraction});
    };
    DW_ASSIGN(auto engine, engine::Engine::open(std::move(options), *context.log));
    report_engine(context, *engine);
    return engine;
  }
};

}  // namespace

extern const CommandEntry kCommand_worker;
const CommandEntry kCommand_worker = make_command<Worker>(
    "worker", {"one engine for fronts (started by serve, or on another machine)",
               "供前端使用的引擎进程（由 serve 启动，或在其他机器上运行）"});

}  // namespace deepwell::apps
