// Loading a model file and sizing its arena.
#include "engine/runtime/loaded_model.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/sha256.hpp"
#include "engine/device/cpu/cpu_device.hpp"
#include "engine/model/arch/arch.hpp"
#include "engine/runtime/describe.hpp"
#include "engine/runtime/host_limits.hpp"
#include "engine/runtime/lap_timer.hpp"
#include "engine/runtime/memory_plan.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint32_t kMaxRowsUntilRelease = 64;  // of the embedding, 64 KiB each at most

/// What a shared arena holds already; available memory does not count it.
std::uint64_t allocated_bytes(int fd) {
  struct ::stat file {};
  if (fd < 0 || ::fstat(fd, &file) != 0) return 0;
  return static_cast<std::uint64_t>(file.st_blocks) * 512;  // POSIX: st_blocks counts 512 bytes
}

std::uint64_t available_bytes(const std::function<std::uint64_t()>& given) {
  return given ? given() : available_memory_bytes();
}

/// As many blocks as the plan says, or as a shared arena has already if that is between one longest sequence and all:
/// another number would throw its content away.
Result<std::uint32_t> size_arena(const LoadOptions& options, const MemoryPlan& plan,
                                 const KvArenaKey& key) {
  const std::uint64_t wanted = std::uint64_t{plan.n_blocks_longest} * options.n_sequences;
  const std::uint64_t present = KvArena::find_blocks(options.kv_fd, key);
  if (present >= plan.n_blocks_longest && present <= wanted)
    return static_cast<std::uint32_t>(present);
  return plan.n_blocks(options.n_sequences);
}

Log& log_of(const LoadOptions& options) { return options.log ? *options.log : null_log(); }

Result<std::uint32_t> choose_context(const LoadOptions& options, const GgufFile& file) {
  DW_ASSIGN(const std::string_view arch_name, file.get_string("general.architecture"));
  std::uint64_t n_ctx_train_tok = kDefaultCtxTok;
  if (const auto value = file.get_uint(concat(arch_name, ".context_length")))
    n_ctx_train_tok = *value;
  if (options.n_ctx_tok == 0)
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(n_ctx_train_tok, kDefaultCtxTok));
  if (options.n_ctx_tok <= n_ctx_train_tok) return options.n_ctx_tok;
  return invalid_argument(concat("--ctx-size ", options.n_ctx_tok, " is beyond the ",
                                 n_ctx_train_tok, " tokens that this model was made for"));
}

/// An unknown architecture has none: loading will tell.
Result<KvShape> kv_shape_of(const GgufFile& file, KvType type) {
  DW_ASSIGN(const std::string_view name, file.get_string("general.architecture"));
  const Arch* const arch = find_architecture(name);
  if (arch == nullptr) return KvShape{.type = type};
  DW_ASSIGN(const HyperParams hyper, arch->read_hyper_params(file));
  return KvShape{hyper.n_layers, hyper.n_kv_heads, hyper.d_head, type};
}

MemoryPlan make_plan(const LoadOptions& options, const GgufFile& file, const KvShape& shape,
                     std::uint32_t n_ctx_tok) {
  const std::uint64_t n_bytes = available_bytes(options.available_bytes) +
                                allocated_bytes(options.kv_fd) + allocated_bytes(options.image_fd);
  return {.n_available_bytes = n_bytes - std::min(n_bytes, options.n_reserved_bytes),
          .n_weights_bytes = estimate_weight_bytes(file),
          .n_kv_block_bytes = kv_block_bytes(shape),
          .n_blocks_longest = n_kv_blocks_for(n_ctx_tok)};
}

/// None: the weights lie in memory of this process.
Result<std::optional<WeightsImage>> open_image(const LoadOptions& options,
                                               const std::string& content_sha256,
                                               const ImageFile& on_disk, const MemoryPlan& plan) {
  const std::string key = concat("cpu/", content_sha256);
  // All but a file on disk is memory that nobody can take back.
  if (plan.lacks_memory() && !on_disk.is_on_disk) return plan.lack(options.image_directory);
  if (on_disk.fd.is_open()) {
    auto image = WeightsImage::open(on_disk.fd.get(), key);
    if (image && *image) return image;
    log_of(options).warn("the packed image ", on_disk.path, " cannot be used: ",
                         image ? "another version of the program has it" : image.error().message);
  }
  if (plan.lacks_memory()) return plan.lack(options.image_directory);
  if (options.image_fd < 0) return std::optional<WeightsImage>();
  DW_ASSIGN(auto image, WeightsImage::open(options.image_fd, key));
  if (!image) {
    log_of(options).warn(
        "another process uses the weights image for another model; this one's "
        "weights take memory of their own");
  }
  return image;
}

/// From now on weights are read from the disk in each step.
void stream_weights(const LoadOptions& options, const MemoryPlan& plan, CpuDevice& device,
                    const GgufFile& file) {
  const std::uint32_t n_rows = device.n_max_rows();
  device.stream_weights({.slab_bytes = options.stream_slab_bytes,
                         .budget_bytes =
                             [plan, n_rows, given = options.available_bytes] {
                               return plan.budget_bytes(available_bytes(given), n_rows);
                             },
                         .log = &log_of(options)});
  file.expect_random_reads();  // of single rows of the embedding
  log_of(options).warn(plan.explain_streaming(device.stream()->n_kept_bytes()));
}

/// Whoever still has the shared arena (a predecessor that does not die) must not keep a successor from its work.
Result<KvArena> open_arena(const LoadOptions& options, const MemoryPlan& plan,
                           const KvArenaKey& key) {
  DW_ASSIGN(const std::uint32_t n_blocks, size_arena(options, plan, key));
  auto arena = KvArena::open(options.kv_fd, key, n_blocks);
  if (arena || arena.error().code != Code::kAborted) return arena;
  log_of(options).warn(arena.error().message, "; this one's lies in memory of its own");
  return KvArena::open(-1, key, n_blocks);
}

std::string hash_of(const GgufFile& file) {
  Sha256 sha;
  sha.update(file.bytes());
  return sha.hex_digest();
}

Result<LoadedModel> load_with(const LoadOptions& options) {
  LapTimer timer(log_of(options), "load");
  if (options.n_threads > 1024)
    return invalid_argument(concat("--threads ", options.n_threads, " is above 1024"));
  DW_ASSIGN(auto file, GgufFile::open(options.path));
  DW_ASSIGN(const Isa isa, options.isa ? Result<Isa>(*options.isa) : choose_isa());
  DW_ASSIGN(const std::uint32_t n_ctx_tok, choose_context(options, *file));
  timer.lap("file");
  std::string content_sha256 = options.content_sha256;
  const bool is_shared = options.kv_fd >= 0 || options.image_fd >= 0;
  if (content_sha256.empty() && is_shared) content_sha256 = hash_of(*file);
  timer.lap("content hash");

  DW_ASSIGN(const KvShape shape, kv_shape_of(*file, options.kv_type));
  const MemoryPlan plan = make_plan(options, *file, shape, n_ctx_tok);
  ImageFile image_file;
  if (!options.image_directory.empty() && !options.content_sha256.empty()) {
    image_file = open_image_file(options.image_directory, content_sha256, file->bytes().size(),
                                 log_of(options));
  }
  DW_ASSIGN(auto image, open_image(options, content_sha256, image_file, plan));
  const bool is_streaming =
      image && !plan.fits() && image_file.is_on_disk && image->fd() == image_file.fd.get();
  const auto pool = options.pool != nullptr
                        ? options.pool
                        : std::make_shared<ComputePool>(options.n_threads == 0 ? n_usable_cpus()
                                                                               : options.n_threads);
  const std::uint32_t n_threads = pool->n_threads();
  const std::uint32_t n_max_rows =
      std::max(options.n_min_rows,
               options.n_max_rows == 0 ? default_max_rows(n_threads) : options.n_max_rows);
  const CpuDeviceOptions device_options{
      .isa = isa,
      .n_threads = n_threads,
      .n_max_rows = n_max_rows,
      .n_max_ctx_tok = n_ctx_tok,
      .after_writing = is_streaming ? AfterWriting::kDrop : AfterWriting::kKeep,
      .log = &log_of(options),
      .pool = pool};
  auto device = std::make_unique<CpuDevice>(device_options, std::move(image));
  timer.lap("image and threads");
  DW_ASSIGN(auto model,
            Model::load(std::move(file), n_ctx_tok, options.kv_type, *device, options.on_progress));
  timer.lap("weights and tables");
  const std::string fingerprint =
      model_fingerprint(content_sha256, device->family(), options.kv_type);
  DW_ASSIGN(KvArena arena, open_arena(options, plan, {fingerprint, shape}));
  DW_TRY(device->set_kv_arena(shape, arena.blocks()));
  DW_TRY(device->end_load());
  timer.lap("arena and buffers");
  const std::uint32_t n_blocks = arena.n_blocks();
  model->file->release_pages();  // the weights are packed
  if (is_streaming) stream_weights(options, plan, *device, *model->file);
  return LoadedModel{.image_file = std::move(image_file),
                     .arena = std::move(arena),
                     .pool = pool,
                     .device = std::move(device),
                     .model = std::move(model),
                     .blocks = BlockPool(n_blocks),
                     .n_ctx_tok = n_ctx_tok,
                     .n_threads = n_threads,
                     .isa = isa,
                     .kv_type = options.kv_type,
                     .content_sha256 = std::move(content_sha256),
                     .is_streaming = is_streaming};
}

}  // namespace

Result<LoadedModel> LoadedModel::load(const LoadOptions& options) {
  LoadOptions attempt = options;
  bool may_pack_again = !options.image_directory.empty();
  for (;;) {
    auto model = load_with(attempt);
    if (model) return model;
    const bool is_on_disk = !attempt.image_directory.empty();
    const bool has_image = is_on_disk || attempt.image_fd >= 0;
    if (model.error().code != Code::kDataLoss || !has_image) return model;
    log_of(options).warn(model.error().message, "; trying without ",
                         is_on_disk ? "what the disk has" : "the shared image of the weights");
    if (is_on_disk) {
      static_cast<void>(remove_file(image_path(attempt.image_directory, attempt.content_sha256)));
      if (!may_pack_again) attempt.image_directory.clear();
      may_pack_again = false;
    } else {
      attempt.image_fd = -1;
    }
  }
}

bool LoadedModel::forward(const StepBatch& batch, const std::atomic<bool>* is_unwanted) {
  Step step = batch.step();
  step.is_unwanted = is_unwanted;
  device->begin_step(step);
  model->arch->forward(*model, *device);
  const bool is_done = device->end_step();
  // An untied embedding is read in the file, where a row's page brings its neighbours along.
  n_rows_since_release += static_cast<std::uint32_t>(step.tokens.size());
  if (n_rows_since_release >= kMaxRowsUntilRelease) {
    n_rows_since_release = 0;
    model->file->release_pages();
  }
  return is_done;
}

}  // namespace deepwell::engine
