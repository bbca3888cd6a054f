// `deepwell run`: chat with a model in the terminal, or ask it one thing.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "apps/chat_session.hpp"
#include "apps/command.hpp"
#include "apps/draft_options.hpp"
#include "apps/engine_options.hpp"
#include "apps/locate_model.hpp"
#include "apps/packed_image.hpp"
#include "apps/repl.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "engine/runtime/engine.hpp"

namespace deepwell::apps {
namespace {

/// All of stdin, for `echo question | deepwell run MODEL`.
Result<std::string> read_stdin() {
  constexpr std::size_t kMaxBytes = 64 << 20;
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, n);
    if (text.size() > kMaxBytes)
      return Error{Code::kResourceExhausted, "stdin is longer than 64 MiB"};
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

struct Run final : Command {
  EngineCommandOptions model;
  PackedImageOption packed_image;
  DraftOptions draft;
  std::string named_model;  // as an argument: beats --model and DEEPWELL_MODEL
  std::vector<std::string> words;
  std::string system;
  double temperature = engine::SamplingParams{}.temperature;
  std::int64_t seed = -1;
  std::int64_t max_tokens = 0;
  bool use_thinking = true;
  bool is_thought_hidden = false;
  bool is_verbose = false;

  void declare(OptionTable& table) override {
    model.model = "default";
    table.add_positional("MODEL", &named_model, false,
                         {"a name, `default`, or a GGUF file (default: default)",
                          "名称、default 或 GGUF 文件（默认 default）"});
    table.add_rest(
        "PROMPT", &words,
        {"ask this and leave; without it: a conversation", "只问这一句；省略则进入对话"});
    model.declare(table);
    packed_image.declare(table);
    draft.declare(table);
    table.add_text("--system", &system, "TEXT", {"system message", "系统消息"});
    table.add_real("--temperature", &temperature, 0, 100, "T",
                   {"0: always the likeliest token", "0 表示总取最可能的词元"});
    table.add_integer(
        "--seed", &seed, -1, INT64_MAX, "N",
        {"the same seed gives the same answer; -1: drawn", "相同种子得到相同回答；-1 表示随机"});
    table.add_integer(
        "--max-tokens", &max_tokens, 0, 1 << 24, "N",
        {"longest answer; 0: until the context is full", "回答的最大长度；0 表示直到上下文用完"});
    table.add_flag("--think", &use_thinking, {"let a reasoning model think", "允许推理模型思考"});
    table.add_flag("--hide-thinking", &is_thought_hidden,
                   {"do not show thoughts", "不显示思考过程"});
    table.add_flag("--verbose", &is_verbose, {"statistics after each answer", "回答后显示统计"});
  }

  Status run(const Context& context) override {
    std::string question;
    for (const std::string& word : words) question += concat(question.empty() ? "" : " ", word);
    const bool is_piped = ::isatty(STDIN_FILENO) == 0;
    if (is_piped) {
      DW_ASSIGN(const std::string piped, read_stdin());
      if (!piped.empty()) question += concat(question.empty() ? "" : "\n\n", piped);
      if (question.empty())
        return invalid_argument("nothing to ask: give a prompt, or text on stdin");
    }
    if (!named_model.empty()) model.model = named_model;
    DW_ASSIGN(const LocatedModel located, locate_model(context, model.model, WhenAbsent::kPull));

    DW_ASSIGN(const engine::KvType kv_type, model.kv_type());
    Interrupts interrupts;  // before any thread
    const std::int64_t start_ns = monotonic_ns();
    engine::EngineOptions options;
    options.load.path = located.path;
    options.load.n_threads = n_threads_for(context, model.n_threads);
    options.load.n_ctx_tok = model.n_ctx_tok;
    options.load.kv_type = kv_type;
    DW_ASSIGN(options.load.image_directory, packed_image.directory(context));
    DW_TRY(draft.apply(context, options));
    options.load.on_progress = [&, show = loading_progress(located.name)](double fraction) {
      if (show) show(fraction);
      if (interrupts.take()) std::_Exit(130);  // nothing is running yet that would need care
    };
    options.name = located.name;
    options.content_sha256 = located.sha256;
    options.n_parallel = 1;
    DW_ASSIGN(const std::unique_ptr<engine::Engine> engine,
              engine::Engine::open(std::move(options), *context.log));
    DW_ASSIGN(const std::unique_ptr<ChatSession> session,
              ChatSession::create(*engine, interrupts, *context.log, ::isatty(STDOUT_FILENO) != 0));
    session->load_ns = monotonic_ns() - start_ns;
    apply_settings(session->settings);
    return question.empty() ? run_repl(*session, located, context.language)
                            : session->ask(question);
  }

  void apply_settings(ChatSettings& settings) const {
    settings.system = system;
    settings.sampling.temperature = static_cast<float>(temperature);
    if (seed >= 0) settings.seed = static_cast<std::uint64_t>(seed);
    if (max_tokens > 0) settings.max_tokens = static_cast<std::uint32_t>(max_tokens);
    if (!use_thinking) settings.use_thinking = false;
    settings.is_thought_hidden = is_thought_hidden;
    settings.is_verbose = is_verbose;
  }
};

}  // namespace

extern const CommandEntry kCommand_run;
const CommandEntry kCommand_run =
    make_command<Run>("run", {"chat with a model in the terminal", "在终端中与模型对话"});

}  // namespace deepwell::apps
