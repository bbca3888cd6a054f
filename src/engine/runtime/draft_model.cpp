// Token texts side by side, and what memory a draft may take.
#include "engine/runtime/draft_model.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/concat.hpp"
#include "engine/gguf/printable.hpp"
#include "engine/runtime/host_limits.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {

namespace {

constexpr std::size_t kMostPadding = 512;  // ids that only one file has; Qwen's sizes differ by 128

struct Tokens {
  std::vector<std::string_view> texts;
  std::vector<std::int64_t> kinds;  // TokenKind; empty: all are normal

  bool is_unused(std::size_t id) const {
    return id < kinds.size() && kinds[id] == static_cast<std::int64_t>(TokenKind::kUnused);
  }
};

Result<Tokens> read_tokens(const GgufFile& file) {
  Tokens tokens;
  DW_ASSIGN(tokens.texts, file.get_strings("tokenizer.ggml.tokens"));
  if (file.has("tokenizer.ggml.token_type")) {
    DW_ASSIGN(tokens.kinds, file.get_ints("tokenizer.ggml.token_type"));
  }
  return tokens;
}

/// As long as the model's, but no longer than the draft was made for.
std::uint32_t context_of(const GgufFile& draft, std::uint32_t n_wanted_tok) {
  const auto architecture = draft.get_string("general.architecture");
  if (!architecture || n_wanted_tok == 0) return 0;
  const auto n_train_tok = draft.get_uint(concat(*architecture, ".context_length"));
  if (!n_train_tok) return n_wanted_tok;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(n_wanted_tok, *n_train_tok));
}

}  // namespace

Status check_draft_pair(const GgufFile& model, const GgufFile& draft) {
  DW_ASSIGN(const Tokens ours, read_tokens(model));
  DW_ASSIGN(const Tokens theirs, read_tokens(draft));
  const std::size_t n_both = std::min(ours.texts.size(), theirs.texts.size());
  for (std::size_t id = 0; id < n_both; ++id) {
    if (ours.texts[id] == theirs.texts[id] || (ours.is_unused(id) && theirs.is_unused(id)))
      continue;
    return invalid_argument(
        concat("the draft model has another vocabulary: token ", id, " is '",
               gguf::printable(theirs.texts[id]), "' there and '", gguf::printable(ours.texts[id]),
               "' in the model; use a draft of the same family, or go without --draft-model"));
  }
  const std::size_t n_more = std::max(ours.texts.size(), theirs.texts.size()) - n_both;
  if (n_more <= kMostPadding) return {};
  return invalid_argument(concat("the draft model has another vocabulary: ", theirs.texts.size(),
                                 " tokens, the model ", ours.texts.size(),
                                 "; use a draft of the same family, or go without --draft-model"));
}

Result<std::optional<LoadedModel>> load_draft_model(const DraftModelOptions& options,
                                                    const LoadOptions& model) {
  if (options.path.empty()) return std::optional<LoadedModel>();
  LoadOptions load{.path = options.path,
                   .n_threads = model.n_threads,
                   .n_sequences = model.n_sequences,
                   .n_min_rows = model.n_min_rows,
                   .kv_type = model.kv_type,
                   .isa = model.isa,
                   .content_sha256 = options.content_sha256,
                   .log = model.log,
                   .available_bytes = model.available_bytes};
  if (!options.content_sha256.empty()) load.image_directory = model.image_directory;
  {
    DW_ASSIGN(const auto file, GgufFile::open(model.path));
    DW_ASSIGN(const auto draft, GgufFile::open(options.path));
    DW_TRY(check_draft_pair(*file, *draft));
    load.n_ctx_tok = context_of(*draft, model.n_ctx_tok);
    // The model comes first, but where it does not fit anyhow, a draft saves it reading.
    const std::uint64_t n_bytes =
        model.available_bytes ? model.available_bytes() : available_memory_bytes();
    load.n_reserved_bytes = std::min(file->file_bytes(), n_bytes / 4 * 3);
  }
  auto draft = LoadedModel::load(load);
  const bool lacks_memory = !draft && draft.error().code == Code::kResourceExhausted;
  if (!draft && !lacks_memory) return draft.error();
  if (lacks_memory || draft->is_streaming) {
    if (model.log != nullptr) {
      model.log->warn(
          "the draft model does not fit into memory beside the model; answers are the "
          "same without it, only slower");
    }
    return std::optional<LoadedModel>();
  }
  return std::optional<LoadedModel>(std::move(draft).value());
}

void leave_room_for(const LoadedModel& draft, LoadOptions& model) {
  model.pool = draft.pool;
  // Its weights are counted already, unless they are pages of a file.
  model.n_reserved_bytes = draft.arena.block_bytes() * draft.arena.n_blocks() +
                           (draft.image_file.is_on_disk ? draft.device->weight_bytes() : 0);
}

}  // namespace deepwell::engine
