// `deepwell load`: asks an OpenAI-compatible server many things at once, and measures and checks what it answers.
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "apps/columns.hpp"
#include "apps/command.hpp"
#include "apps/interrupts.hpp"
#include "apps/load_check.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"

namespace deepwell::apps {
namespace {

struct Load final : Command {
  std::string url = "http://127.0.0.1:8080";
  CheckedLoadOptions options{.n_streams = 10, .n_total = 100, .use_verify = false};
  std::int64_t limit_s = 600;
  std::int64_t seconds = 0;
  std::string clients;
  std::uint32_t n_each = 4;
  double amid_after_s = 5;
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
    table.add_text(
        "--clients", &clients, "N,N,...",
        {"one load after another with so many clients, each of whom asks --each times; instead of "
         "--streams and --total",
         "依次以这些客户端数施加负载，每个客户端请求 --each 次；替代 --streams 与 --total"});
    table.add_integer("--each", &n_each, 1, 1'000'000, "N",
                      {"requests of each client", "每个客户端的请求数"});
    table.add_integer("--max-tokens", &questions.max_tok, 1, 1 << 24, "N",
                      {"tokens of an answer", "每个回答的词元数"});
    table.add_integer("--prompt-tokens", &questions.n_prompt_tok, 1, 1 << 24, "N",
                      {"tokens of a prompt, about", "提示的词元数（约）"});
    table.add_integer("--shared-prefix", &questions.n_shared_tok, 0, 1 << 24, "N",
                      {"tokens of a system message that all requests share, about; 0: none",
                       "所有请求共用的系统消息的词元数（约）；0 表示没有"});
    table.add_real("--long-share", &questions.long_share, 0, 1, "SHARE",
                   {"of the requests that have a long prompt", "长提示请求所占的比例"});
    table.add_integer("--long-tokens", &questions.n_long_tok, 1, 1 << 24, "N",
                      {"tokens of a long prompt, about", "长提示的词元数（约）"});
    table.add_integer(
        "--amid-tokens", &options.n_amid_tok, 0, 1 << 24, "N",
        {"one request more with a prompt of so many tokens comes amid the others; 0: none",
         "在其他请求进行中再插入一个提示为此词元数的请求；0 表示没有"});
    table.add_real(
        "--amid-after", &amid_after_s, 0.01, 3600, "S",
        {"seconds after the first request that it comes", "插入时刻：第一个请求之后的秒数"});
    table.add_integer("--distinct", &questions.n_distinct, 0, 100'000, "N",
                      {"different requests, asked in turn; 0: none comes twice",
                       "不同请求的个数，轮流使用；0 表示从不重复"});
    table.add_integer("--first", &questions.first, 0, 1'000'000'000'000, "N",
                      {"number of the first request: another one asks what was not asked before",
                       "第一个请求的编号：换一个编号即换一批未问过的请求"});
    table.add_flag(
        "--ignore-eos", &questions.ignore_end,
        {"answers go on to --max-tokens whatever the model says", "回答一直生成到 --max-tokens"});
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
    options.amid_after = std::chrono::milliseconds(std::llround(amid_after_s * 1000));
    if (!clients.empty()) return run_series(context);
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

  Result<std::vector<std::uint32_t>> parse_clients() const {
    std::vector<std::uint32_t> counts;
    for (std::string_view rest = clients;;) {
      const std::string_view part = rest.substr(0, rest.find(','));
      std::uint32_t n = 0;
      const auto number = std::from_chars(part.data(), part.data() + part.size(), n);
      const bool is_number = number.ec == std::errc() && number.ptr == part.data() + part.size();
      if (!is_number || n == 0 || n > 100'000) {
        return invalid_argument(concat(
            "--clients: '", part, "' is no count from 1 to 100000; expected for example 1,4,16"));
      }
      counts.push_back(n);
      if (part.size() == rest.size()) return counts;
      rest.remove_prefix(part.size() + 1);
    }
  }

  // No question of one load comes again in the next: it would find its prompt cached.
  Status run_series(const Context& context) {
    if (options.use_verify || seconds > 0) {
      return invalid_argument("--clients goes with neither --verify nor --seconds");
    }
    DW_ASSIGN(const std::vector<std::uint32_t> counts, parse_clients());
    options.questions.n_distinct = 0;
    Interrupts interrupts;
    bool is_over = false;
    CheckedLoad::Hooks hooks;
    hooks.is_cancelled = [&] { return is_over = is_over || interrupts.take(); };
    nlohmann::ordered_json series = nlohmann::ordered_json::array();
    std::vector<std::vector<std::string>> table = {series_head(context.language)};
    std::vector<std::string> problems;
    Status outcome;
    for (const std::uint32_t n_clients : counts) {
      options.n_streams = n_clients;
      options.n_total = std::uint64_t{n_clients} * n_each;
      DW_ASSIGN(const LoadAccount account, CheckedLoad(options).run(hooks));
      options.questions.first += options.n_total;
      table.push_back(series_row(n_clients, account));
      nlohmann::ordered_json entry = account.to_json();
      entry["clients"] = n_clients;
      series.push_back(std::move(entry));
      problems.insert(problems.end(), account.problems().begin(), account.problems().end());
      if (outcome) outcome = account.outcome();
    }
    if (is_json) {
      DW_TRY(print_line(nlohmann::ordered_json{{"series", std::move(series)}}.dump(2)));
      return outcome;
    }
    DW_TRY(print_text(format_columns(table)));
    for (const std::string& problem : problems) DW_TRY(print_line(problem));
    return outcome;
  }

  static std::vector<std::string> series_head(Language language) {
    const auto name = [language](Text text) { return std::string(text.in(language)); };
    return {name({"clients", "客户端"}),
            name({"tokens/s", "词元/秒"}),
            name({"first token p50, p99 ms", "首词元 p50、p99 毫秒"}),
            name({"between tokens p50, p99 ms", "词元间隔 p50、p99 毫秒"}),
            name({"a client's answer median, worst ms", "每客户端回答 中位、最差 毫秒"}),
            name({"failed", "失败"})};
  }

  static std::vector<std::string> series_row(std::uint32_t n_clients, const LoadAccount& account) {
    const auto pair = [](double a, double b) {
      return concat(format_fixed(a, 1), ", ", format_fixed(b, 1));
    };
    const Percentiles first = account.time_to_first_token_ms();
    const Percentiles gaps = account.inter_token_ms();
    const ClientTimes times = account.client_times();
    return {concat(n_clients),
            format_fixed(account.tok_per_s(), 1),
            pair(first.p50, first.p99),
            pair(gaps.p50, gaps.p99),
            pair(times.median_ms, times.worst_ms),
            concat(account.n_failed())};
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
