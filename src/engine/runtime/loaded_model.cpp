// Loading a model file and sizing its arena.
#include "engine/runtime/loaded_model.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/concat.hpp"
#include "engine/device/cpu/cpu_device.hpp"
#include "engine/model/arch/arch.hpp"

namespace deepwell::engine {

namespace {

/// "max 100000" or "150000 100000": quota and period in µs (cgroup v2, cpu.max).
std::uint32_t n_cpus_of_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::uint64_t quota = 0;
  std::uint64_t period = 0;
  if (!(file >> quota >> period) || period == 0) return UINT32_MAX;
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, quota / period));
}

std::uint64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib >> unit) {
    if (key == "MemAvailable:") return kib << 10;
  }
  const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
}

/// Blocks for n_sequences of the longest sequence, or as many as half of the free memory holds.
Result<std::uint32_t> size_arena(const LoadOptions& options, std::uint32_t n_ctx_tok,
                                 const KvShape& shape) {
  const std::uint64_t block_bytes = kv_block_bytes(shape);
  const std::uint64_t per_sequence = (n_ctx_tok + kKvBlockTok - 1) / kKvBlockTok;
  const std::uint64_t free_bytes = available_memory_bytes();
  if (per_sequence * block_bytes > free_bytes) {
    return Error{Code::kResourceExhausted,
                 concat("a context of ", n_ctx_tok, " tokens needs ",
                        (per_sequence * block_bytes) >> 20, " MiB for keys and values, but only ",
                        free_bytes >> 20, " MiB of memory are free; use a smaller --ctx-size")};
  }
  const std::uint64_t affordable = std::max(per_sequence, free_bytes / 2 / block_bytes);
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(per_sequence * options.n_sequences, affordable));
}

}  // namespace

std::uint32_t n_usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int n = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::min(static_cast<std::uint32_t>(std::max(1, n)), n_cpus_of_quota());
}

Result<LoadedModel> LoadedModel::load(const LoadOptions& options) {
  if (options.n_threads > 1024)
    return invalid_argument(concat("--threads ", options.n_threads, " is above 1024"));
  DW_ASSIGN(auto file, GgufFile::open(options.path));
  DW_ASSIGN(const Isa isa, options.isa ? Result<Isa>(*options.isa) : choose_isa());
  DW_ASSIGN(const std::string_view arch_name, file->get_string("general.architecture"));
  std::uint64_t n_ctx_train_tok = kDefaultCtxTok;
  if (const auto value = file->get_uint(concat(arch_name, ".context_length")))
    n_ctx_train_tok = *value;
  std::uint32_t n_ctx_tok = options.n_ctx_tok;
  if (n_ctx_tok == 0)
    n_ctx_tok =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(n_ctx_train_tok, kDefaultCtxTok));
  if (n_ctx_tok > n_ctx_train_tok) {
    return invalid_argument(concat("--ctx-size ", n_ctx_tok, " is beyond the ", n_ctx_train_tok,
                                   " tokens that this model was made for"));
  }

  const std::uint32_t n_threads = options.n_threads == 0 ? n_usable_cpus() : options.n_threads;
  auto device = std::make_unique<CpuDevice>(CpuDeviceOptions{.isa = isa,
                                                             .n_threads = n_threads,
                                                             .n_max_rows = options.n_max_rows,
                                                             .n_max_ctx_tok = n_ctx_tok});
  DW_ASSIGN(auto model, Model::load(std::move(file), n_ctx_tok, *device, options.on_progress));
  const HyperParams& hyper = model->hyper;
  const KvShape shape{hyper.n_layers, hyper.n_kv_heads, hyper.d_head, options.kv_type};
  DW_ASSIGN(const std::uint32_t n_blocks, size_arena(options, n_ctx_tok, shape));
  DW_TRY(device->set_kv_arena(shape, n_blocks));
  return LoadedModel{std::move(device), std::move(model), BlockPool(n_blocks),
                     n_ctx_tok,         n_threads,        isa};
}

bool LoadedModel::forward(const StepBatch& batch, const std::atomic<bool>* is_unwanted) {
  Step step = batch.step();
  step.is_unwanted = is_unwanted;
  device->begin_step(step);
  model->arch->forward(*model, *device);
  return device->end_step();
}

}  // namespace deepwell::engine
