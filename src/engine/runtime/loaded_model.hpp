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
#include "engine/device/cpu/isa.hpp"
#include "engine/model/model.hpp"
#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/step_batch.hpp"

namespace deepwell::engine {

struct LoadOptions {
  std::string path;                // of a GGUF file
  std::uint32_t n_threads = 0;     // 0: as many as this process may use
  std::uint32_t n_ctx_tok = 0;     // longest sequence; 0: the model's own, at most kDefaultCtxTok
  std::uint32_t n_sequences = 1;   // so many of the longest sequence should fit the arena at once
  std::uint32_t n_max_rows = 512;  // rows of a step at most
  KvType kv_type = KvType::kF16;
  std::optional<Isa> isa;  // none: the best, or what DEEPWELL_FORCE_ISA says
  std::function<void(double fraction)> on_progress;  // may be empty
};

inline constexpr std::uint32_t kDefaultCtxTok = 8192;

/// Processors that this process may run on, by affinity and by the CPU quota of its cgroup.
std::uint32_t n_usable_cpus();

struct LoadedModel {
  std::unique_ptr<Device> device;
  std::unique_ptr<Model> model;
  BlockPool blocks;
  std::uint32_t n_ctx_tok = 0;
  std::uint32_t n_threads = 0;
  Isa isa = Isa::kScalar;

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
