// Sums over a model and the machine.
#include "engine/runtime/memory_plan.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::engine {

namespace {
// Of files' pages, for all but the weights: code, the rows of an untied embedding.
constexpr std::uint64_t kOtherPagesBytes = std::uint64_t{24} << 20;

std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }
}  // namespace

Result<std::uint32_t> MemoryPlan::n_blocks(std::uint32_t n_sequences) const {
  const std::uint64_t n_most_bytes = less(n_available_bytes, kWorkingBytes);
  if (n_kv_longest_bytes() > n_most_bytes) {
    return Error{Code::kResourceExhausted,
                 concat("a context of ", n_blocks_longest * kKvBlockTok, " tokens needs ",
                        n_kv_longest_bytes() >> 20, " MiB for keys and values, but of memory only ",
                        n_available_bytes >> 20, " MiB are free, and the engine works in ",
                        kWorkingBytes >> 20, " of them; use a --ctx-size of at most ",
                        n_most_bytes / n_kv_block_bytes * kKvBlockTok)};
  }
  const std::uint64_t n_wanted = std::uint64_t{n_blocks_longest} * n_sequences;
  const std::uint64_t n_share_bytes =
      fits() ? less(n_available_bytes, n_weights_bytes) / 2 : n_available_bytes / 4;
  const std::uint64_t n_affordable =
      std::max<std::uint64_t>(n_blocks_longest, n_share_bytes / n_kv_block_bytes);
  return static_cast<std::uint32_t>(std::min(n_wanted, n_affordable));
}

std::uint64_t MemoryPlan::budget_bytes(std::uint64_t n_now_bytes, std::uint32_t n_rows) const {
  return less(n_now_bytes, kOtherPagesBytes + n_rows * n_kv_block_bytes / kKvBlockTok);
}

std::string MemoryPlan::explain_streaming(std::uint64_t n_kept_bytes) const {
  return concat("the weights (", n_weights_bytes >> 20, " MiB) do not fit into memory (",
                n_available_bytes >> 20, " MiB free, a context takes ", n_kv_longest_bytes() >> 20,
                "): ", std::min(n_kept_bytes, n_weights_bytes) >> 20, " MiB stay there, ",
                less(n_weights_bytes, n_kept_bytes) >> 20,
                " MiB are read from the disk in each step, so the disk sets the speed; more "
                "memory, a smaller quantisation or a smaller --ctx-size help");
}

Error MemoryPlan::lack(const std::string& image_directory) const {
  return {Code::kResourceExhausted,
          concat("the weights take ", n_weights_bytes >> 20, " MiB and a context ",
                 n_kv_longest_bytes() >> 20, " MiB, but only ", n_available_bytes >> 20,
                 " MiB of memory are free; with --packed-image auto and ",
                 (n_weights_bytes >> 20) + 1024, " MiB free on the disk of ",
                 image_directory.empty() ? "the home directory" : image_directory,
                 " they can be read from there as they are needed; else use a smaller model")};
}

std::uint64_t estimate_weight_bytes(const GgufFile& file) {
  std::uint64_t n = 0;
  for (const GgufTensor& tensor : file.tensors()) n += tensor.data.size();
  const GgufTensor* const table = file.find_tensor("token_embd.weight");
  const bool is_tied = file.find_tensor("output.weight") == nullptr;
  return table == nullptr || is_tied ? n : n - table->data.size();
}

}  // namespace deepwell::engine
