// The options of serve, front and worker.
#include "apps/serve_settings.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "apps/machine.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"

namespace deepwell::apps {

namespace {

constexpr std::size_t kMaxRunDirectoryBytes = 70;  // leaves room for "/worker-12-34567.sock"

void declare_processes(OptionTable& table, ServeSettings& settings) {
  table.add_integer("--workers", &settings.n_workers, 0, 64, "N",
                    {"engine processes; 0: the engine runs inside the server, without protection "
                     "against its crashes",
                     "引擎进程数；0 表示引擎与服务同进程，崩溃时无保护"});
  table.add_list("--worker", &settings.worker_lines, "'HOST:PORT [RULES]'",
                 {"a further worker on another machine (needs --worker-ca, -cert, -key); rules: "
                  "weight=N max_fails=N fail_timeout=10s backup down",
                  "其他机器上的工作进程（需要 --worker-ca、-cert、-key）；规则：weight=N "
                  "max_fails=N fail_timeout=10s backup down"});
  table.add_text("--balance", &settings.balance, "MODE",
                 {"who gets new work: least-loaded, or round-robin as nginx does it",
                  "新请求的分配方式：least-loaded，或与 nginx 相同的 round-robin"});
  table.add_text(
      "--worker-ca", &settings.worker_tls.ca_file, "FILE",
      {"authority of the certificates between machines (PEM)", "机器间证书的签发机构（PEM）"});
  table.add_text(
      "--worker-cert", &settings.worker_tls.cert_file, "FILE",
      {"this machine's certificate for other machines (PEM)", "本机用于机器间通信的证书（PEM）"});
  table.add_text("--worker-key", &settings.worker_tls.key_file, "FILE",
                 {"its private key (PEM)", "该证书的私钥（PEM）"});
  table.add_integer("--worker-memory", &settings.worker_memory_mb, 0, 1 << 30, "MB",
                    {"memory limit of one worker; 0: none", "单个工作进程的内存上限；0 表示不限"});
  table.add_text(
      "--run-dir", &settings.run_directory, "DIR",
      {"sockets and incidents of the running processes", "运行中进程的套接字与事故记录目录"});
}

void declare_answers(OptionTable& table, ServeSettings& settings) {
  table.add_integer("--max-waiting", &settings.n_max_waiting, 0, 1 << 20, "N",
                    {"answers that may wait for their turn in one worker; more are refused",
                     "每个工作进程中排队等待的回答上限，超过则拒绝"});
  table.add_integer(
      "--max-connections", &settings.serving.max_connections, 1, 1 << 20, "N",
      {"connections of clients at once; more are refused", "同时的客户端连接数上限，超过则拒绝"});
  table.add_text("--journal", &settings.serving.journal.path, "FILE",
                 {"where answers are noted so that they survive a restart",
                  "记录回答的文件，使其在重启后仍可继续"});
  table.add_text("--journal-durability", &settings.durability, "LEVEL",
                 {"process (survives crashes of the program) or machine (also power cuts)",
                  "process（程序崩溃后可恢复）或 machine（断电后也可恢复）"});
  table.add_integer(
      "--reattach-grace", &settings.reattach_grace_s, 0, 24 * 3600, "SECONDS",
      {"how long a streamed answer that nobody reads goes on", "无人读取的流式回答继续生成的时间"});
  table.add_text(
      "--turn-cache", &settings.turn_cache, "auto|off",
      {"while nobody waits and not on battery, compute what conversations' next turns begin with",
       "空闲且未使用电池时，预先计算各对话下一轮的开头"});
}

void declare_drills(OptionTable& table, ServeSettings& settings) {
  table.add_flag("--synthetic", &settings.is_synthetic,
                 {"no model: tokens by a formula, for drills and tests",
                  "不加载模型：按公式生成词元，用于演练与测试"});
  table.add_flag("--synthetic-thoughts", &settings.is_thinking,
                 {"the synthetic model thinks first", "合成模型先输出思考内容"});
  table.add_integer("--synthetic-pace-us", &settings.synthetic_pace_us, 0, 60'000'000, "N",
                    {"microseconds between two of its tokens", "合成词元之间的微秒数"});
  table.add_integer("--poison-token", &settings.poison_token, -1, 1 << 30, "ID",
                    {"for drills: a prompt with this token crashes its worker",
                     "用于演练：含此词元的提示会使工作进程崩溃"});
}

}  // namespace

void ServeSettings::declare(OptionTable& table) {
  model.model = "default";
  model.declare(table);
  packed_image.declare(table);
  kv_disk.declare(table);
  table.add_integer("-np,--parallel,--max-num-seqs", &n_parallel, 1, 65536, "N",
                    {"answers computed at the same time; more wait", "同时生成的回答数，其余排队"});
  draft.declare(table);
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
  table.add_list("--tenant-weight", &serving.keys.tenant_weights, "NAME=N",
                 {"the tenant's share of the computing counts N times that of one without a weight",
                  "该租户的计算份额为未设权重者的 N 倍"});
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
  declare_processes(table, *this);
  declare_answers(table, *this);
  declare_drills(table, *this);
  // Only where another product's variable means exactly the same here. OLLAMA_HOST does not: it may name a server
  // elsewhere.
  table.add_foreign_variable("OLLAMA_CONTEXT_LENGTH", "ctx-size");
  table.add_foreign_variable("LLAMA_ARG_CTX_SIZE", "ctx-size");
  table.add_foreign_variable("LLAMA_ARG_THREADS", "threads");
  table.add_foreign_variable("LLAMA_ARG_N_PARALLEL", "parallel");
  table.add_foreign_variable("LLAMA_API_KEY", "api-key");
  table.add_foreign_variable("VLLM_API_KEY", "api-key");
}

std::string default_run_directory(const Context& context, const std::string& name) {
  if (::geteuid() == 0) return concat("/run/deepwell/", name);
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  std::string directory = runtime != nullptr && *runtime == '/'
                              ? concat(runtime, "/deepwell/", name)
                              : join_path(context.home, concat("run/", name));
  if (directory.size() <= kMaxRunDirectoryBytes) return directory;
  return concat("/tmp/deepwell-", ::geteuid(), "/", name);
}

Status ServeSettings::read_workers() {
  remote_workers.clear();
  for (const std::string& line : worker_lines) {
    DW_ASSIGN(cluster::WorkerSpec spec, cluster::parse_worker_spec(line));
    remote_workers.push_back(std::move(spec));
  }
  DW_ASSIGN(const cluster::Balance checked, balance_mode());
  static_cast<void>(checked);
  DW_ASSIGN(const std::uint64_t checked_kv_disk, kv_disk.max_bytes());
  static_cast<void>(checked_kv_disk);
  return {};
}

Result<cluster::Balance> ServeSettings::balance_mode() const {
  if (balance == "least-loaded") return cluster::Balance::kLeastLoaded;
  if (balance == "round-robin") return cluster::Balance::kRoundRobin;
  return invalid_argument(
      concat("--balance: '", balance, "' is not one of least-loaded, round-robin"));
}

Status ServeSettings::finish(const Context& context, const std::string& name) {
  if (durability == "machine") {
    serving.journal.durability = service::Durability::kMachine;
  } else if (durability != "process") {
    return invalid_argument(
        concat("--journal-durability: '", durability, "' is not one of process, machine"));
  }
  if (turn_cache != "auto" && turn_cache != "off") {
    return invalid_argument(concat("--turn-cache: '", turn_cache, "' is not one of auto, off"));
  }
  serving.use_turn_cache = turn_cache == "auto";
  DW_TRY(read_workers());
  if (run_directory.empty()) run_directory = default_run_directory(context, name);
  if (run_directory.size() > kMaxRunDirectoryBytes) {
    return invalid_argument(concat("--run-dir: '", run_directory, "' is longer than ",
                                   kMaxRunDirectoryBytes,
                                   " bytes, too long for the sockets in it"));
  }
  if (serving.journal.path.empty()) {
    serving.journal.path = join_path(context.home, concat("journal/", name, ".db"));
  }
  DW_ASSIGN(const engine::KvType checked, model.kv_type());
  static_cast<void>(checked);
  serving.request_timeout = std::chrono::seconds(request_timeout_s);
  serving.drain_timeout = std::chrono::seconds(shutdown_timeout_s);
  serving.reattach_grace = std::chrono::seconds(reattach_grace_s);
  const auto n_all =
      std::max<std::uint32_t>(1, n_workers + static_cast<std::uint32_t>(remote_workers.size()));
  serving.n_parallel = n_parallel * n_all;
  serving.max_waiting = n_max_waiting * n_all;
  return make_directories(directory_of(serving.journal.path), 0700);
}

Result<engine::EngineOptions> ServeSettings::engine_options(const Context& context,
                                                            const LocatedModel& located) const {
  engine::EngineOptions options;
  DW_ASSIGN(options.load.kv_type, model.kv_type());
  DW_ASSIGN(options.load.image_directory, packed_image.directory(context));
  DW_ASSIGN(options.block_store, kv_disk.open(context));
  options.load.path = located.path;
  if (model.n_threads == 0 && n_workers > 1) {  // they start together, and would disturb each other
    options.load.n_threads = std::max(1U, choose_threads(context, false).n_threads / n_workers);
  } else {
    options.load.n_threads = n_threads_for(context, model.n_threads);
  }
  options.load.n_ctx_tok = model.n_ctx_tok;
  options.name = located.name;
  options.content_sha256 = located.sha256;
  options.n_parallel = n_parallel;
  options.n_max_waiting = n_max_waiting;
  DW_TRY(draft.apply(context, options));
  if (poison_token >= 0) options.poison_token = static_cast<engine::TokenId>(poison_token);
  return options;
}

cluster::SyntheticOptions ServeSettings::synthetic_options() const {
  cluster::SyntheticOptions options;
  options.pace = std::chrono::microseconds(synthetic_pace_us);
  options.n_prefill_tok = 8192;
  options.n_slots = n_parallel;
  options.n_queue = n_max_waiting;
  options.n_ctx_tok = model.n_ctx_tok == 0 ? 8192 : model.n_ctx_tok;
  if (poison_token >= 0) options.poison_token = static_cast<engine::TokenId>(poison_token);
  if (is_thinking) {
    options.chat_template = cluster::byte_chat_template(true);
    options.script = [](const engine::GenerateRequest& request) {
      return concat("let me see, 让我想想 ", request.prompt.size(),
                    "</think>\n\nThe answer is 42 🙂");
    };
  }
  return options;
}

void report_engine(const Context& context, const engine::Engine& engine) {
  const engine::ModelDescription& model = engine.describe();
  const Machine machine = look_at_machine();
  context.log->info("serving ", model.name, " (", model.architecture, ", ",
                    model.n_params / 1'000'000, " M parameters), ", engine.n_threads(),
                    " threads, ", machine.n_numa_nodes, " NUMA node",
                    machine.n_numa_nodes == 1 ? "" : "s", ", ", engine::isa_name(engine.isa()),
                    ", context ", model.n_ctx_tok, " of ", model.n_ctx_train_tok, " tokens");
  if (const engine::LoadedModel* draft = engine.draft_model()) {
    context.log->info("guessing with a draft model of ", draft->model->n_params / 1'000'000,
                      " M parameters, ", format_bytes(draft->device->weight_bytes()), " packed, ",
                      format_bytes(draft->arena.block_bytes() * draft->arena.n_blocks()),
                      " for its keys and values at most, context ", draft->n_ctx_tok, " tokens");
  }
}

void report_listening(const Context& context, const edge::Listening& listening) {
  context.log->info("listening on ", listening.url, ": ", listening.openness);
  const bool is_chinese = context.language == Language::kChinese;
  const std::string text =
      concat(is_chinese ? "\n  地址      " : "\n  address   ", listening.url,
             is_chinese ? "\n  API 地址  " : "\n  API base  ", listening.api_base,
             is_chinese ? "\n  试一试    " : "\n  try it    ", listening.first_curl, "\n\n");
  std::fputs(text.c_str(), stderr);
}

}  // namespace deepwell::apps
