// `deepwell perplexity`: how well a model predicts a text, or how far it is from a float32 reference.
#include <algorithm>
#include <cmath>

#include "apps/command.hpp"
#include "apps/engine_options.hpp"
#include "apps/kl_golden.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/runtime/describe.hpp"

namespace deepwell::apps {
namespace {

using engine::LoadedModel;
using engine::TokenId;

/// Feeds a sequence from position 0 and hands over the logits after each position.
/// Errors: kDataLoss if a logit is not finite.
template <class Visit>
Status for_each_position(LoadedModel& model, std::span<const TokenId> tokens, std::uint32_t n_chunk,
                         Visit&& visit) {
  n_chunk = std::min(n_chunk, model.device->n_max_rows());
  std::vector<std::uint32_t> blocks;
  model.blocks.take(engine::n_kv_blocks_for(static_cast<std::uint32_t>(tokens.size())), blocks);
  engine::StepBatch batch;
  for (std::uint32_t pos = 0; pos < tokens.size(); pos += n_chunk) {
    const std::size_t n = std::min<std::size_t>(n_chunk, tokens.size() - pos);
    batch.clear();
    batch.add(tokens.subspan(pos, n), pos, blocks, engine::Outputs::kAll);
    model.forward(batch);
    for (std::uint32_t i = 0; i < n; ++i) {
      const std::span<const float> logits = model.logits(i);
      if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
        return data_loss(concat("the logits after position ", pos + i,
                                " are not finite; the model file is damaged"));
      }
      visit(pos + i, logits);
    }
  }
  model.blocks.release(blocks);
  return {};
}

struct Perplexity final : Command {
  EngineCommandOptions engine;
  std::string text_file;
  std::string golden_file;
  std::uint32_t n_chunk = 512;
  bool is_json = false;

  void declare(OptionTable& table) override {
    engine.declare(table);
    table.add_positional("FILE", &text_file, false,
                         {"UTF-8 text to predict", "要预测的 UTF-8 文本"});
    table.add_text("--kl", &golden_file, "GOLDEN",
                   {"compare with a reference (docs/formats/kl-golden.md)",
                    "与参考结果比较（docs/formats/kl-golden.md）"});
    table.add_integer("--chunk", &n_chunk, 2, 512, "N",
                      {"tokens of each sequence and step", "每段的词元数"});
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context& context) override {
    if (text_file.empty() == golden_file.empty()) {
      return invalid_argument("give either a text FILE or --kl GOLDEN");
    }
    DW_ASSIGN(LoadedModel model, engine.load(context));
    return golden_file.empty() ? run_text(model) : run_golden(model);
  }

  Status run_text(LoadedModel& model) {
    DW_ASSIGN(const std::string text, read_file(text_file, std::size_t{1} << 30));
    DW_ASSIGN(const auto tokenizer, engine::make_tokenizer(model));
    n_chunk = std::min(n_chunk, model.n_ctx_tok);
    const std::vector<TokenId> tokens = tokenizer->encode(text);
    KlFigures figures;
    for (std::size_t begin = 0; begin + 2 <= tokens.size(); begin += n_chunk) {
      const auto chunk =
          std::span(tokens).subspan(begin, std::min<std::size_t>(n_chunk, tokens.size() - begin));
      DW_TRY(for_each_position(model, chunk, n_chunk,
                               [&](std::uint32_t t, std::span<const float> logits) {
                                 if (t + 1 < chunk.size())
                                   figures.add_prediction(logits, chunk[t + 1]);
                               }));
    }
    if (figures.n_predictions() == 0)
      return invalid_argument(concat(text_file, " holds fewer than two tokens"));
    const double perplexity = std::exp(figures.mean_nll());
    if (is_json) {
      return print_line(concat("{\"perplexity\":", perplexity,
                               ",\"n_predictions\":", figures.n_predictions(), "}"));
    }
    return print_line(
        concat("perplexity ", perplexity, " over ", figures.n_predictions(), " predictions"));
  }

  Status run_golden(LoadedModel& model) {
    DW_ASSIGN(const KlGolden golden, KlGolden::open(golden_file));
    if (golden.n_vocab != model.model->hyper.n_vocab || golden.len_chunk > model.n_ctx_tok) {
      return invalid_argument(concat(golden_file, " is of a model with ", golden.n_vocab,
                                     " tokens and chunks of ", golden.len_chunk, "; this one has ",
                                     model.model->hyper.n_vocab, " and a context of ",
                                     model.n_ctx_tok));
    }
    KlFigures figures;
    for (std::uint32_t c = 0; c < golden.n_chunks; ++c) {
      const auto& tokens = golden.tokens[c];
      DW_TRY(for_each_position(model, tokens, n_chunk,
                               [&](std::uint32_t t, std::span<const float> logits) {
                                 figures.add(golden.records[c][t], logits);
                                 if (t + 1 < tokens.size())
                                   figures.add_prediction(logits, tokens[t + 1]);
                               }));
    }
    const double ratio = std::exp(figures.mean_nll() - golden.mean_nll);
    if (is_json) {
      return print_line(
          concat("{\"kl\":", figures.mean_kl(), ",\"kl_p99\":", figures.kl_quantile(0.99),
                 ",\"kl_max\":", figures.kl_quantile(1.0), ",\"top1\":", figures.top1(),
                 ",\"top1_at_margin\":", figures.top1_at_margin(),
                 ",\"n_at_margin\":", figures.n_at_margin(), ",\"perplexity_ratio\":", ratio,
                 ",\"perplexity\":", std::exp(figures.mean_nll()),
                 ",\"n_predictions\":", figures.n_predictions(), "}"));
    }
    return print_line(concat("KL ", figures.mean_kl(), " (p99 ", figures.kl_quantile(0.99),
                             ", max ", figures.kl_quantile(1.0), ")\ntop-1 ", 100 * figures.top1(),
                             " % of all, ", 100 * figures.top1_at_margin(), " % of the ",
                             figures.n_at_margin(), " positions with a margin of 0.05\nperplexity ",
                             std::exp(figures.mean_nll()), ", ", ratio, " times the reference's"));
  }
};

}  // namespace

extern const CommandEntry kCommand_perplexity;
const CommandEntry kCommand_perplexity = make_command<Perplexity>(
    "perplexity", {"measure a model on a text or against a reference", "用文本或参考结果衡量模型"});

}  // namespace deepwell::apps
