// `deepwell serve`: a model behind the HTTP API.
#include <cstdio>
#include <cstdlib>

#include "apps/command.hpp"
#include "apps/engine_options.hpp"
#include "apps/locate_model.hpp"
#include "apps/machine.hpp"
#include "base/concat.hpp"
#include "edge/serve.hpp"
#include "edge/stop_signals.hpp"
#include "engine/runtime/engine.hpp"

namespace deepwell::apps {
namespace {

struct Serve final : Command {
  EngineCommandOptions model;
  std::uint32_t n_parallel = 16;
  std::int64_t request_timeout_s = 3600;
  std::int64_t shutdown_timeout_s = 300;
  edge::ServeOptions serving;

  void declare(OptionTable& table) override {
    model.model = "default";
    model.declare(table);
    table.add_integer(
        "-np,--parallel,--max-num-seqs", &n_parallel, 1, 1024, "N",
        {"answers computed at the same time; more wait", "同时生成的回答数，其余排队"});
    table.add_text("--host", &serving.host, "ADDRESS", {"address to listen on", "监听地址"});
    table.add_integer("--port", &serving.port, 0, 65535, "PORT",
                      {"port to listen on; 0: any free one", "监听端口；0 表示任意空闲端口"});
    table.add_list(
        "-a,--alias,--served-model-name", &serving.model_names, "NAME",
        {"further names under which clients may ask for the model", "客户端可使用的其他模型名称"});
    table.add_text("--api-key", &serving.keys.api_key, "KEY",
                   {"the key that clients must send", "客户端必须提供的密钥"});
    table.add_text("--api-key-file", &serving.keys.key_file_path, "FILE",
                   {"file of `name = key` lines", "密钥文件，每行 name = key"});
    table.add_list("--allow-host", &serving.allowed_hosts, "HOST",
                   {"further names by which this server may be called (Host header)",
                    "允许的其他主机名（Host 头）"});
    table.add_list("--allow-origin", &serving.allowed_origins, "ORIGIN",
                   {"other sites whose pages may call (CORS)", "允许跨站调用的来源（CORS）"});
    table.add_flag("--insecure-no-auth", &serving.use_insecure_no_auth,
                   {"listen beyond this machine without a key", "对外监听且不要求密钥（不安全）"});
    table.add_text("--tls-cert", &serving.tls_cert_file, "FILE",
                   {"certificate chain (PEM)", "证书链（PEM）"});
    table.add_text("--tls-key", &serving.tls_key_file, "FILE",
                   {"its private key (PEM)", "证书私钥（PEM）"});
    table.add_integer("--request-timeout", &request_timeout_s, 1, 7 * 24 * 3600, "SECONDS",
                      {"longest time for one answer", "单个回答的最长时间"});
    table.add_integer(
        "--shutdown-timeout", &shutdown_timeout_s, 0, 24 * 3600, "SECONDS",
        {"how long running answers may go on after SIGTERM", "收到 SIGTERM 后等待回答完成的时间"});
    // Only where another product's variable means exactly the same here. OLLAMA_HOST does not: it may name a server
    // elsewhere.
    table.add_foreign_variable("OLLAMA_CONTEXT_LENGTH", "ctx-size");
    table.add_foreign_variable("LLAMA_ARG_CTX_SIZE", "ctx-size");
    table.add_foreign_variable("LLAMA_ARG_THREADS", "threads");
    table.add_foreign_variable("LLAMA_ARG_N_PARALLEL", "parallel");
    table.add_foreign_variable("LLAMA_API_KEY", "api-key");
    table.add_foreign_variable("VLLM_API_KEY", "api-key");
  }

  Status run(const Context& context) override {
    // A wrong flag is told before the model is loaded, not minutes later.
    DW_ASSIGN(const service::KeyRing checked, edge::check_serve_options(serving, *context.log));
    (void)checked;
    DW_ASSIGN(const LocatedModel located, locate_model(context, model.model, WhenAbsent::kPull));

    serving.request_timeout = std::chrono::seconds(request_timeout_s);
    serving.drain_timeout = std::chrono::seconds(shutdown_timeout_s);
    edge::StopSignals signals;  // before any thread: threads inherit its mask
    engine::EngineOptions options;
    options.load.path = located.path;
    options.load.n_threads = model.n_threads;
    options.load.n_ctx_tok = model.n_ctx_tok;
    options.load.on_progress = [&, show = loading_progress(located.name)](double fraction) {
      if (show) show(fraction);
      // Nothing is running yet: leaving in the middle of loading needs no care.
      if (signals.wait(std::chrono::milliseconds(0)) != edge::StopRequest::kNone) std::_Exit(130);
    };
    options.name = located.name;
    options.content_sha256 = located.sha256;
    options.n_parallel = n_parallel;
    DW_ASSIGN(const std::unique_ptr<engine::Engine> engine,
              engine::Engine::open(std::move(options), *context.log));
    report_start(context, *engine);
    serving.on_listening = [&context](const edge::Listening& listening) {
      report_listening(context, listening);
    };
    serving.wait_stop = [&signals](std::chrono::milliseconds limit) { return signals.wait(limit); };
    return edge::serve(serving, *engine, *context.log);
  }

  static void report_start(const Context& context, const engine::Engine& engine) {
    const engine::ModelDescription& model = engine.describe();
    const Machine machine = look_at_machine();
    context.log->info("serving ", model.name, " (", model.architecture, ", ",
                      model.n_params / 1'000'000, " M parameters), ", engine.n_threads(),
                      " threads, ", machine.n_numa_nodes, " NUMA node",
                      machine.n_numa_nodes == 1 ? "" : "s", ", ", engine::isa_name(engine.isa()),
                      ", context ", model.n_ctx_tok, " of ", model.n_ctx_train_tok, " tokens");
  }

  static void report_listening(const Context& context, const edge::Listening& listening) {
    context.log->info("listening on ", listening.url, ": ", listening.openness);
    const bool is_chinese = context.language == Language::kChinese;
    const std::string text =
        concat(is_chinese ? "\n  地址      " : "\n  address   ", listening.url,
               is_chinese ? "\n  API 地址  " : "\n  API base  ", listening.api_base,
               is_chinese ? "\n  试一试    " : "\n  try it    ", listening.first_curl, "\n\n");
    std::fputs(text.c_str(), stderr);
  }
};

}  // namespace

extern const CommandEntry kCommand_serve;
const CommandEntry kCommand_serve = make_command<Serve>(
    "serve", {"serve a model over HTTP (OpenAI API)", "通过 HTTP 提供模型服务（OpenAI API）"});

}  // namespace deepwell::apps
