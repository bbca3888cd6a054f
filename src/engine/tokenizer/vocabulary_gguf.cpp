// One line per key, and the list of spellings that end an answer.
#include "engine/tokenizer/vocabulary_gguf.hpp"

#include <algorithm>
#include <limits>

#include "base/concat.hpp"
#include "engine/tokenizer/pretokenizer.hpp"

namespace deepwell::engine {
namespace {

// Model files often name one end token where the model knows several (a base model's and a chat's).
constexpr std::string_view kEndSpellings[] = {
    "<|im_end|>",             // ChatML: Qwen, SmolLM
    "<|endoftext|>",          // GPT-2, Qwen
    "<|eot_id|>",             // Llama 3
    "<|eom_id|>",             // Llama 3.1, after a tool call
    "<|end_of_text|>",        // Llama 3 base
    "<｜end▁of▁sentence｜>",  // DeepSeek
    "<|EOT|>",                // DeepSeek Coder
};

Result<std::optional<TokenId>> read_id(const GgufFile& file, std::string_view key) {
  if (!file.has(key)) return std::optional<TokenId>();
  DW_ASSIGN(const std::uint64_t id, file.get_uint(key));
  if (id > static_cast<std::uint64_t>(std::numeric_limits<TokenId>::max())) {
    return invalid_argument(
        concat(key, " = ", id, " is not a token id; the model file is damaged"));
  }
  return std::optional(static_cast<TokenId>(id));
}

Result<StringList> read_strings(const GgufFile& file, std::string_view key) {
  DW_ASSIGN(const auto views, file.get_strings(key));
  std::size_t n_bytes = 0;
  for (const std::string_view view : views) n_bytes += view.size();
  if (n_bytes > StringList::kMaxBytes) {
    return invalid_argument(concat(key, " has ", n_bytes, " characters; at most ",
                                   StringList::kMaxBytes, " are supported"));
  }
  StringList strings;
  strings.reserve(views.size(), n_bytes);
  for (const std::string_view view : views) strings.push_back(view);
  return strings;
}

Result<std::vector<TokenKind>> read_kinds(const GgufFile& file, std::size_t n_vocab) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  if (!file.has(kKey)) return std::vector<TokenKind>(n_vocab, TokenKind::kNormal);
  DW_ASSIGN(const auto numbers, file.get_ints(kKey));
  std::vector<TokenKind> kinds;
  kinds.reserve(numbers.size());
  for (std::size_t t = 0; t < numbers.size(); ++t) {
    if (numbers[t] < 1 || numbers[t] > 6) {
      return invalid_argument(
          concat(kKey, "[", t, "] = ", numbers[t], " is no token type; expected 1 to 6"));
    }
    kinds.push_back(static_cast<TokenKind>(numbers[t]));
  }
  return kinds;
}

}  // namespace

std::vector<TokenId> find_end_ids(const Vocabulary& vocabulary) {
  std::vector<TokenId> ids;
  const std::size_t n_vocab = std::min(vocabulary.tokens.size(), vocabulary.kinds.size());
  for (std::size_t t = 0; t < n_vocab; ++t) {
    if (vocabulary.kinds[t] != TokenKind::kControl) continue;
    if (std::ranges::find(kEndSpellings, vocabulary.tokens[t]) == std::ranges::end(kEndSpellings))
      continue;
    ids.push_back(static_cast<TokenId>(t));
  }
  return ids;
}

Result<Vocabulary> read_vocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  DW_ASSIGN(vocabulary.model, file.get_string("tokenizer.ggml.model"));
  if (file.has("tokenizer.ggml.pre")) {
    DW_ASSIGN(vocabulary.pre, file.get_string("tokenizer.ggml.pre"));
  }
  DW_ASSIGN(vocabulary.tokens, read_strings(file, "tokenizer.ggml.tokens"));
  DW_ASSIGN(vocabulary.kinds, read_kinds(file, vocabulary.tokens.size()));
  if (file.has("tokenizer.ggml.merges")) {
    DW_ASSIGN(vocabulary.merges, read_strings(file, "tokenizer.ggml.merges"));
  }
  DW_ASSIGN(vocabulary.bos, read_id(file, "tokenizer.ggml.bos_token_id"));
  DW_ASSIGN(vocabulary.eos, read_id(file, "tokenizer.ggml.eos_token_id"));
  DW_ASSIGN(vocabulary.eot, read_id(file, "tokenizer.ggml.eot_token_id"));
  DW_ASSIGN(vocabulary.eom, read_id(file, "tokenizer.ggml.eom_token_id"));
  DW_ASSIGN(vocabulary.pad, read_id(file, "tokenizer.ggml.padding_token_id"));
  vocabulary.end_ids = find_end_ids(vocabulary);
  if (file.has("tokenizer.ggml.add_bos_token")) {
    DW_ASSIGN(vocabulary.add_bos, file.get_bool("tokenizer.ggml.add_bos_token"));
  } else {
    const PreTokenizer* pretokenizer = find_pretokenizer(vocabulary.pre);
    vocabulary.add_bos = pretokenizer != nullptr && pretokenizer->adds_bos;
  }
  return vocabulary;
}

}  // namespace deepwell::engine
