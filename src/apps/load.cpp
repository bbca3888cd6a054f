// `deepwell load`: asks an OpenAI-compatible server many things at once, and measures and checks what it answers.
#include <nlohmann/json.hpp>

#include "apps/columns.hpp"
#include "apps/command.hpp"
#include "apps/interrupts.hpp"
#include "apps/load_check.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {
namespace {

struct Load final : Command {
  std::string url = "http://127.0.0.1:8080";
  CheckedLoadOptions options{.n_streams = 10, .n_total = 100, .use_verify = false};
  std::int64_t limit_s = 600;
  std::int64_t seconds = 0;
  bool is_json = false;

  void declare(OptionTable& table) override {
    LoadQuestions& questions = options.questions;
    table.add_text("--url", &url, "URL", {"the server", "服务器地址"});
    table.add_integer("--streams", &options.n_streams, 1, 100'000, "N",
                      {"streams at once", "同时进行的流数"});
    table.add_integer("--total", &options.n_total, 1, 1'000'000'000, "N",
                      {"requests in all", "请求总数"});
    table.add_integer("--seconds", &seconds, 0, 30 * 24 * 3600, "S",
                      {"begin requests for so long, whatever --total says; 0: until the total",
                       "在此时间内持续发起请求，忽略 --total；0 表示以总数为准"});
    table.add_real("--rate", &options.rate_per_s, 0, 1e6, "R",
                   {"requests per second whatever the server does; 0: as answers end",
                    "每秒请求数，与服务器快慢无关；0 表示一个回答结束后再发下一个"});
    table.add_integer("--max-tokens", &questions.max_tok, 1, 1 << 24, "N",
                      {"tokens of an answer", "每个回答的词元数"});
    table.add_integer("--prompt-tokens", &questions.n_prompt_tok, 1, 1 << 24, "N",
                      {"tokens of a prompt, about", "提示的词元数（约）"});
    table.add_integer("--distinct", &questions.n_distinct, 1, 100'000, "N",
                      {"different requests, asked in turn", "不同请求的个数，轮流使用"});
    table.add_real("--temperature", &questions.temperature, 0, 2, "T",
                   {"of the requests; their seeds are fixed", "请求的温度；种子固定"});
    table.add_text("-m,--model", &questions.model, "NAME", {"model to ask for", "请求的模型名称"});
    table.add_text("--api-key", &options.target.api_key, "KEY",
                   {"the key that the server asks for", "服务器要求的密钥"});
    table.add_flag("--reattach", &options.use_reattach,
                   {"go on with an answer after its connection broke (Deepwell servers)",
                    "连接断开后续接回答（Deepwell 服务器）"});
    table.add_flag("--verify", &options.use_verify,
                   {"ask each request undisturbed first and compare every later answer with that",
                    "先在无干扰时获取每个请求的回答，之后逐一比对"});
    table.add_real("--pace-ms", &options.pace_ms, 0, 60'000, "MS",
                   {"time between two tokens of the source; a pause is what a gap has beyond it",
                    "来源两个词元之间的间隔；停顿为超出此值的部分"});
    table.add_integer("--answer-limit", &limit_s, 1, 7 * 24 * 3600, "SECONDS",
                      {"an answer that takes longer has failed", "回答超过此时间视为失败"});
    table.add_flag("--json", &is_json, {"print the report as JSON", "以 JSON 输出报告"});
  }

  Status run(const Context& context) override {
    const std::string api_key = options.target.api_key;
    DW_ASSIGN(options.target, parse_load_url(url));
    options.target.api_key = api_key;
    options.answer_limit = std::chrono::seconds(limit_s);
    Interrupts interrupts;
    bool is_over = false;
    if (seconds > 0) options.n_total = 0;
    CheckedLoad load(options);
    if (options.use_verify) DW_TRY(load.ask_undisturbed());
    context.log->info("the load begins");  // scripts that disturb it wait for this line
    CheckedLoad::Hooks hooks;
    if (seconds > 0) {
      const SteadyTime end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
      hooks.is_over = [end] { return std::chrono::steady_clock::now() >= end; };
    }
    hooks.is_cancelled = [&] { return is_over = is_over || interrupts.take(); };
    DW_ASSIGN(const LoadAccount account, load.run(hooks));
    DW_TRY(report(context, account));
    return account.outcome();
  }

  Status report(const Context& context, const LoadAccount& account) const {
    if (is_json) return print_line(account.to_json().dump(2));
    DW_TRY(print_text(format_columns(account.rows(context.language))));
    for (const std::string& problem : account.problems()) DW_TRY(print_line(problem));
    return {};
  }
};

}  // namespace

extern const CommandEntry kCommand_load;
const CommandEntry kCommand_load =
    make_command<Load>("load", {"put a server under load, measure it and check its answers",
                                "对服务器施加负载，测量并核对其回答"});

}  // namespace deepwell::apps
