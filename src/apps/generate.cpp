// `deepwell generate`: continues a raw prompt, text or token ids, without any template.
#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>

#include "apps/command.hpp"
#include "apps/draft_options.hpp"
#include "apps/engine_options.hpp"
#include "apps/model_path.hpp"
#include "apps/packed_image.hpp"
#include "base/concat.hpp"
#include "engine/runtime/engine.hpp"

namespace deepwell::apps {
namespace {

using engine::TokenId;

/// Keeps the ids, hands them to a waiting thread as they come.
class IdQueue final : public engine::GenerationSink {
 public:
  void on_event(engine::GenerationEvent event) override {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    has_event_.notify_one();
  }
  engine::GenerationEvent pop() {
    std::unique_lock lock(mutex_);
    has_event_.wait(lock, [this] { return !events_.empty(); });
    engine::GenerationEvent event = std::move(events_.front());
    events_.erase(events_.begin());
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable has_event_;
  std::vector<engine::GenerationEvent> events_;
};

Result<std::vector<TokenId>> parse_ids(std::string_view text) {
  std::vector<TokenId> ids;
  const char* p = text.data();
  const char* const end = text.data() + text.size();
  while (p < end) {
    TokenId id = 0;
    const auto [next, error] = std::from_chars(p, end, id);
    if (error != std::errc{} || (next < end && *next != ',')) {
      return invalid_argument(concat(
          "--ids '", text, "' is not a comma-separated list of token ids, for example 1,2,3"));
    }
    ids.push_back(id);
    p = next + (next < end ? 1 : 0);
  }
  return ids;
}

std::string join(std::span<const TokenId> ids) {
  std::string out;
  for (const TokenId id : ids) out += concat(out.empty() ? "" : ",", id);
  return out;
}

struct Generate final : Command {
  EngineCommandOptions engine_options;
  PackedImageOption packed_image{.mode = "off"};
  DraftOptions draft;
  std::vector<std::string> words;
  std::string ids;
  std::uint32_t max_tokens = 64;
  double temperature = 0.0, top_p = 1.0, min_p = 0.0;
  std::int32_t top_k = 0;
  std::uint32_t seed = 0;
  bool has_specials = false, is_endless = false, is_json = false;

  void declare(OptionTable& table) override {
    engine_options.declare(table);
    packed_image.declare(table);
    draft.declare(table);
    table.add_rest("PROMPT", &words, {"text to continue", "要续写的文本"});
    table.add_text("--ids", &ids, "1,2,3",
                   {"token ids to continue, instead of text", "要续写的词元编号，代替文本"});
    table.add_integer("-n,--max-tokens,--n-predict", &max_tokens, 1, 1 << 24, "N",
                      {"tokens to generate at most", "最多生成的词元数"});
    table.add_real("--temperature,--temp", &temperature, 0.0, 100.0, "T",
                   {"0: always the likeliest", "0 表示总取概率最大者"});
    table.add_integer("--top-k", &top_k, 0, 1 << 24, "K",
                      {"only the K likeliest; 0: off", "只取前 K 个；0 表示不限"});
    table.add_real("--top-p", &top_p, 0.0, 1.0, "P",
                   {"only the likeliest that sum to P", "只取累计概率达到 P 的词元"});
    table.add_real(
        "--min-p", &min_p, 0.0, 1.0, "P",
        {"only those at least P times as likely as the best", "只取不低于最大概率 P 倍的词元"});
    table.add_integer("--seed", &seed, 0, 0xFFFFFFFFLL, "N",
                      {"same seed, same tokens", "种子相同则结果相同"});
    table.add_flag("--special", &has_specials,
                   {"the prompt's control tokens count, for example <|im_start|>",
                    "识别提示中的控制词元，如 <|im_start|>"});
    table.add_flag("--ignore-eos", &is_endless,
                   {"go on past the end of the answer", "忽略结束符继续生成"});
    table.add_flag("--json", &is_json,
                   {"print the ids of prompt and answer as JSON", "以 JSON 输出提示与回答的编号"});
  }

  Status run(const Context& context) override {
    if (engine_options.model.empty())
      return invalid_argument("no model given; use -m NAME or -m FILE.gguf");
    if (words.empty() == ids.empty())
      return invalid_argument("give either a PROMPT or --ids 1,2,3");
    DW_ASSIGN(const engine::KvType kv_type, engine_options.kv_type());
    DW_ASSIGN(std::string path, model_path(context, engine_options.model));
    engine::EngineOptions options{
        .load = {.path = std::move(path),
                 .n_threads = n_threads_for(context, engine_options.n_threads),
                 .n_ctx_tok = engine_options.n_ctx_tok,
                 .kv_type = kv_type,
                 .on_progress = loading_progress(engine_options.model)},
        .name = engine_options.model,
        .content_sha256 = "unhashed",
        .n_parallel = 1};
    DW_ASSIGN(options.load.image_directory, packed_image.directory(context));
    if (!options.load.image_directory.empty()) {
      DW_ASSIGN(options.content_sha256, model_sha256(context, options.load.path));
    }
    DW_TRY(draft.apply(context, options));
    DW_ASSIGN(auto engine, engine::Engine::open(std::move(options), *context.log));
    const engine::Tokenizer& tokenizer = *engine->describe().tokenizer;
    engine::GenerateRequest request{.sampling = {.temperature = static_cast<float>(temperature),
                                                 .top_k = top_k,
                                                 .top_p = static_cast<float>(top_p),
                                                 .min_p = static_cast<float>(min_p),
                                                 .seed = seed},
                                    .max_tokens = max_tokens,
                                    .ignore_end = is_endless};
    if (!ids.empty()) {
      DW_ASSIGN(request.prompt, parse_ids(ids));
    } else {
      std::string text;
      for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
      request.prompt = has_specials ? tokenizer.encode_with_specials(text) : tokenizer.encode(text);
    }
    return print_answer(*engine, std::move(request));
  }

  Status print_answer(engine::Engine& engine, engine::GenerateRequest request) const {
    const std::vector<TokenId> prompt = request.prompt;
    const auto sink = std::make_shared<IdQueue>();
    DW_ASSIGN(const engine::GenerationId id, engine.submit(std::move(request), sink));
    static_cast<void>(id);
    engine::StreamDecoder decoder(*engine.describe().tokenizer);
    std::vector<TokenId> generated;
    for (;;) {
      const engine::GenerationEvent event = sink->pop();
      generated.insert(generated.end(), event.ids.begin(), event.ids.end());
      if (!is_json) {
        for (const TokenId token : event.ids) DW_TRY(print_text(decoder.push(token)));
      }
      if (event.error) return *event.error;
      if (event.is_last()) break;
    }
    if (!is_json) return print_text(concat(decoder.finish(), "\n"));
    return print_line(
        concat("{\"prompt_ids\":[", join(prompt), "],\"ids\":[", join(generated), "]}"));
  }
};

}  // namespace

extern const CommandEntry kCommand_generate;
const CommandEntry kCommand_generate = make_command<Generate>(
    "generate", {"continue a raw prompt, no template", "续写原始提示，不套模板"});

}  // namespace deepwell::apps
