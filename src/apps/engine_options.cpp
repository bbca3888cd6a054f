// Options and progress of loading.
#include "apps/engine_options.hpp"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "apps/machine.hpp"
#include "apps/model_path.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {

void EngineCommandOptions::declare(OptionTable& table) {
  table.add_text("-m,--model", &model, "NAME|FILE",
                 {"model: a name or a GGUF file", "模型：名称或 GGUF 文件"});
  table.add_integer("-t,--threads", &n_threads, 0, 1024, "N",
                    {"threads; 0: as many as measurement at the first start found best",
                     "线程数；0 表示采用首次启动时实测的最佳值"});
  table.add_integer("-c,--ctx-size,--max-model-len", &n_ctx_tok, 0, 1 << 24, "N",
                    {"longest prompt and answer, in tokens; 0: the model's own, at most 8192",
                     "上下文长度（词元数）；0 表示模型自身的长度，至多 8192"});
  table.add_text("--kv-cache-type", &kv_cache_type, "TYPE",
                 {"how keys and values are kept: f16, or q8 in half the memory",
                  "键值缓存的类型：f16，或内存减半的 q8"});
}

Result<engine::KvType> EngineCommandOptions::kv_type() const {
  if (kv_cache_type == "f16") return engine::KvType::kF16;
  if (kv_cache_type == "q8") return engine::KvType::kQ8;
  return invalid_argument(concat("--kv-cache-type: '", kv_cache_type, "' is not one of f16, q8"));
}

Result<engine::LoadedModel> EngineCommandOptions::load(
    const Context& context, const PackedImageOption* packed_image) const {
  if (model.empty()) return invalid_argument("no model given; use -m NAME or -m FILE.gguf");
  DW_ASSIGN(const engine::KvType type, kv_type());
  DW_ASSIGN(std::string path, model_path(context, model));
  engine::LoadOptions options{.path = std::move(path),
                              .n_threads = n_threads_for(context, n_threads),
                              .n_ctx_tok = n_ctx_tok,
                              .kv_type = type,
                              .on_progress = loading_progress(model),
                              .log = context.log};
  if (packed_image != nullptr) {
    DW_ASSIGN(options.image_directory, packed_image->directory(context));
    if (!options.image_directory.empty()) {
      DW_ASSIGN(options.content_sha256, model_sha256(context, options.path));
    }
  }
  return engine::LoadedModel::load(options);
}

engine::ThreadChoice choose_threads(const Context& context, bool may_measure) {
  const Machine machine = look_at_machine();
  const engine::ThreadChoiceKey key{.processor = machine.processor,
                                    .n_usable_cpus = machine.n_usable_cpus,
                                    .version = DEEPWELL_VERSION};
  return engine::choose_threads(
      join_path(context.home, "threads"), key,
      may_measure ? engine::MeasureThreads(engine::measure_threads) : engine::MeasureThreads());
}

std::uint32_t n_threads_for(const Context& context, std::uint32_t n_threads) {
  return n_threads > 0 ? n_threads : choose_threads(context).n_threads;
}

std::function<void(double)> loading_progress(const std::string& name) {
  if (::isatty(STDERR_FILENO) == 0) return {};
  return [name, last = -1](double fraction) mutable {
    const int percent = static_cast<int>(100.0 * fraction);
    if (percent == last) return;
    last = percent;
    std::fprintf(stderr, "\rloading %s %d%%%s", name.c_str(), percent,
                 percent >= 100 ? "\r\033[K" : "");
  };
}

}  // namespace deepwell::apps
