// `deepwell bench`: tokens per second of prefill and decode, beside what the memory could give.
#include <algorithm>
#include <chrono>

#include "apps/bandwidth.hpp"
#include "apps/command.hpp"
#include "apps/engine_options.hpp"
#include "base/concat.hpp"
#include "engine/model/arch/arch.hpp"

namespace deepwell::apps {
namespace {

using Clock = std::chrono::steady_clock;
using engine::LoadedModel;
using engine::TokenId;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Measurement {
  std::string test;           // "pp512", "tg64"
  std::vector<double> rates;  // tokens/s of each repetition
  double gbps = 0.0;          // decode: bytes read per second, weights and keys and values
};

struct Bench final : Command {
  EngineCommandOptions engine;
  PackedImageOption packed_image{.mode = "off"};
  std::uint32_t n_prompt_tok = 512;
  std::uint32_t n_generate_tok = 64;
  std::uint32_t n_repetitions = 5;
  std::uint32_t n_depth_tok = 0;
  bool is_json = false;
  std::string why_threads;

  void declare(OptionTable& table) override {
    engine.declare(table);
    packed_image.declare(table);
    table.add_integer("-p,--n-prompt", &n_prompt_tok, 0, 1 << 20, "N",
                      {"tokens of prefill", "预填充的词元数"});
    table.add_integer("-n,--n-gen", &n_generate_tok, 0, 1 << 20, "N",
                      {"tokens to decode", "解码的词元数"});
    table.add_integer("-r,--repetitions", &n_repetitions, 1, 1000, "N",
                      {"repetitions; medians count", "重复次数，取中位数"});
    table.add_integer("-d,--n-depth", &n_depth_tok, 0, 1 << 20, "N",
                      {"tokens already in the cache when the measurement starts",
                       "开始测量时缓存中已有的词元数"});
    table.add_flag("--json", &is_json, {"machine-readable output", "输出 JSON"});
  }

  Status run(const Context& context) override {
    if (engine.n_ctx_tok == 0)
      engine.n_ctx_tok = n_depth_tok + std::max(n_prompt_tok, n_generate_tok) + 1;
    DW_ASSIGN(LoadedModel model, engine.load(context, &packed_image));
    const std::uint32_t needed = n_depth_tok + std::max(n_prompt_tok, n_generate_tok);
    if (needed > model.n_ctx_tok) {
      return invalid_argument(
          concat("the tests need ", needed, " tokens of context, --ctx-size is ", model.n_ctx_tok));
    }
    why_threads = engine.n_threads > 0 ? concat(engine.n_threads, " threads: as given")
                                       : choose_threads(context, false).explain();
    const double peak_gbps = measure_read_bandwidth_gbps(model.n_threads);
    std::vector<Measurement> measurements;
    if (n_prompt_tok > 0) measurements.push_back(measure(model, n_prompt_tok, true));
    if (n_generate_tok > 0) measurements.push_back(measure(model, n_generate_tok, false));
    return is_json ? print_json(model, measurements, peak_gbps)
                   : print_table(model, measurements, peak_gbps);
  }

  /// Token ids that do not matter: spread over the vocabulary, the same in every run.
  static TokenId token_at(const LoadedModel& model, std::uint32_t i) {
    return static_cast<TokenId>((std::uint64_t{i} * 7919 + 13) % model.model->hyper.n_vocab);
  }

  static void feed(LoadedModel& model, std::span<const std::uint32_t> blocks, std::uint32_t begin,
                   std::uint32_t n, std::uint32_t n_per_step) {
    engine::StepBatch batch;
    std::vector<TokenId> tokens;
    for (std::uint32_t done = 0; done < n; done += n_per_step) {
      const std::uint32_t n_here = std::min(n_per_step, n - done);
      tokens.clear();
      for (std::uint32_t i = 0; i < n_here; ++i)
        tokens.push_back(token_at(model, begin + done + i));
      batch.clear();
      batch.add(tokens, begin + done, blocks, engine::Outputs::kLast);
      model.forward(batch);
    }
  }

  Measurement measure(LoadedModel& model, std::uint32_t n_tok, bool is_prompt) const {
    Measurement measurement{.test = concat(is_prompt ? "pp" : "tg", n_tok)};
    if (n_depth_tok > 0) measurement.test += concat("@", n_depth_tok);
    std::vector<std::uint32_t> blocks;
    model.blocks.take(engine::n_kv_blocks_for(n_depth_tok + n_tok), blocks);
    const std::uint32_t n_most = model.device->n_max_rows();
    feed(model, blocks, 0, n_depth_tok, n_most);
    for (std::uint32_t r = 0; r <= n_repetitions; ++r) {  // the first one warms up
      const Clock::time_point start = Clock::now();
      feed(model, blocks, n_depth_tok, n_tok, is_prompt ? n_most : 1);
      if (r > 0) measurement.rates.push_back(n_tok / seconds_since(start));
    }
    model.blocks.release(blocks);
    if (!is_prompt) {
      const auto& hyper = model.model->hyper;
      const engine::KvShape shape{hyper.n_layers, hyper.n_kv_heads, hyper.d_head, model.kv_type};
      const double kv_per_tok =
          static_cast<double>(engine::kv_block_bytes(shape)) / engine::kKvBlockTok;
      const double per_step = static_cast<double>(model.device->weight_bytes()) +
                              kv_per_tok * (n_depth_tok + n_tok / 2.0);
      measurement.gbps = median(measurement.rates) * per_step / 1e9;
    }
    return measurement;
  }

  Status print_json(const LoadedModel& model, std::span<const Measurement> measurements,
                    double peak_gbps) const {
    std::string out =
        concat("{\"model\":\"", model.model->arch->name, "\",\"isa\":\"", isa_name(model.isa),
               "\",\"n_threads\":", model.n_threads, ",\"threads_why\":\"", why_threads, "\"",
               ",\"weight_bytes\":", model.device->weight_bytes(),
               ",\"read_peak_gbps\":", peak_gbps, ",\"results\":[");
    for (const Measurement& m : measurements) {
      const auto [least, most] = std::minmax_element(m.rates.begin(), m.rates.end());
      out += concat(&m == measurements.data() ? "" : ",", "{\"test\":\"", m.test,
                    "\",\"tokens_per_s\":", median(m.rates), ",\"tokens_per_s_min\":", *least,
                    ",\"tokens_per_s_max\":", *most, ",\"n_repetitions\":", m.rates.size());
      if (m.gbps > 0)
        out += concat(",\"gbps\":", m.gbps, ",\"percent_of_peak\":", 100 * m.gbps / peak_gbps);
      out += "}";
    }
    return print_line(out + "]}");
  }

  Status print_table(const LoadedModel& model, std::span<const Measurement> measurements,
                     double peak_gbps) const {
    DW_TRY(print_line(concat(model.model->arch->name, ", ", model.model->n_params / 1'000'000,
                             " M parameters, ", model.device->weight_bytes() >> 20, " MiB packed, ",
                             isa_name(model.isa), ", ", model.n_threads, " threads, read peak ",
                             peak_gbps, " GB/s")));
    DW_TRY(print_line(concat("threads: ", why_threads)));
    for (const Measurement& m : measurements) {
      const auto [least, most] = std::minmax_element(m.rates.begin(), m.rates.end());
      std::string line =
          concat(m.test, "  ", median(m.rates), " tokens/s (", *least, " to ", *most, ")");
      if (m.gbps > 0)
        line += concat("  ", m.gbps, " GB/s, ", 100 * m.gbps / peak_gbps, " % of the read peak");
      DW_TRY(print_line(line));
    }
    return {};
  }
};

}  // namespace

extern const CommandEntry kCommand_bench;
const CommandEntry kCommand_bench =
    make_command<Bench>("bench", {"measure prefill and decode speed", "测量预填充和解码速度"});

}  // namespace deepwell::apps
