// LoadedModel: a model on a device with its arena of keys and values, ready for steps.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/result.hpp"
#include "engine/device/cpu/compute_pool.hpp"
#include "engine/device/cpu/isa.hpp"
#include "engine/device/cpu/weight_stream.hpp"
#include "engine/model/model.hpp"
#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/host_limits.hpp"
#include "engine/runtime/image_file.hpp"
#include "engine/runtime/kv_arena.hpp"
#include "engine/runtime/step_batch.hpp"

namespace deepwell::engine {

struct LoadOptions {
  std::string path;               // of a GGUF file
  std::uint32_t n_threads = 0;    // 0: as many as this process may use
  std::uint32_t n_ctx_tok = 0;    // longest sequence; 0: the model's own, at most kDefaultCtxTok
  std::uint32_t n_sequences = 1;  // so many of the longest sequence should fit the arena at once
  std::uint32_t n_min_rows = 0;   // that a step must be able to hold, whatever n_max_rows says
  std::uint32_t n_max_rows = 0;   // rows of a step at most; 0: default_max_rows()
  KvType kv_type = KvType::kF16;
  std::optional<Isa> isa;  // none: the best, or what DEEPWELL_FORCE_ISA says
  std::function<void(double fraction)> on_progress;  // may be empty
  std::string
      content_sha256;  // of the file, 64 hexadecimal digits; if empty it is hashed when needed
  // A memory file for keys and values, kept by somebody who outlives this process: what is in it is adopted
  // (docs/formats/kv-arena.md). -1: memory of this process. The caller keeps it open while the model lives, and
  // closes no copy of it meanwhile: that would end the lock on it.
  int kv_fd = -1;
  // The same for packed weights (docs/formats/weights-image.md): whoever has the file first packs into it.
  int image_fd = -1;
  // Where packed weights are kept on disk, for the next start and for other processes; it exists. Empty: nowhere. Used
  // if content_sha256 is given, and before image_fd.
  std::string image_directory;
  std::shared_ptr<ComputePool> pool;   // to compute on, in turn with others; null: one of its own
  std::uint64_t n_reserved_bytes = 0;  // of the available memory, for somebody else
  Log* log = nullptr;                  // for notes on the way; may be null
  // For tests: memory that can still be had, asked again while weights are streamed (empty: available_memory_bytes()),
  // and how much of them is read at once.
  std::function<std::uint64_t()> available_bytes;
  std::uint64_t stream_slab_bytes = WeightStreamOptions{}.slab_bytes;
};

inline constexpr std::uint32_t kDefaultCtxTok = 8192;

/// Rows that keep so many threads busy; more only take memory, and time until a step has ended.
constexpr std::uint32_t default_max_rows(std::uint32_t n_threads) {
  return n_threads < 8 ? 256 : 512;
}

struct LoadedModel {
  ImageFile image_file;  // may not be open; before the device, which locks it
  KvArena arena;         // before the device, which writes into it
  std::shared_ptr<ComputePool>
      pool;  // owners: the device, and that of another model that takes turns
  std::unique_ptr<Device> device;
  std::unique_ptr<Model> model;
  BlockPool blocks;
  std::uint32_t n_ctx_tok = 0;
  std::uint32_t n_threads = 0;
  Isa isa = Isa::kScalar;
  KvType kv_type = KvType::kF16;
  std::string content_sha256;              // empty if nobody needed it
  std::uint32_t n_rows_since_release = 0;  // of the model file's pages
  bool is_streaming = false;               // weights are read from the disk in each step

  /// Errors: those of GgufFile::open and Model::load; kResourceExhausted if one sequence does not fit into memory
  /// (the message has the sum); kInvalidArgument for options out of range.
  static Result<LoadedModel> load(const LoadOptions& options);

  /// Runs one step. Afterwards logits(i) is the i-th output row's, [n_vocab] f32. False if the step was abandoned
  /// because `is_unwanted` (may be null) became true: then there are no logits.
  bool forward(const StepBatch& batch, const std::atomic<bool>* is_unwanted = nullptr);
  std::span<const float> logits(std::uint32_t i) const {
    return device->read_row(model->buffers.logits, i);
  }
};

}  // namespace deepwell::engine
