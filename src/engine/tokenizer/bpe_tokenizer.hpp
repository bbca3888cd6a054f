// BpeTokenizer: byte-level BPE as GPT-2, Llama 3, Qwen and DeepSeek use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/tokenizer/bpe.hpp"
#include "engine/tokenizer/pretokenizer.hpp"
#include "engine/tokenizer/special_trie.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {

/// Text is cut at special tokens (trusted text only), the rest into words, and words are merged
/// from their bytes. Words and merges reach ordinary tokens alone, so no text can become a special
/// token by accident.
class BpeTokenizer final : public Tokenizer {
 public:
  /// As Tokenizer::create, for the model "gpt2".
  static Result<std::unique_ptr<Tokenizer>> create(Vocabulary vocabulary);

  std::vector<TokenId> encode(std::string_view text) const override;
  std::vector<TokenId> encode_with_specials(std::string_view text) const override;
  std::vector<TokenId> encode_spans(std::span<const TextSpan> spans) const override;
  std::string token_bytes(TokenId id, bool show_specials) const override;
  std::string decode(std::span<const TokenId> ids, bool show_specials) const override;
  std::optional<TokenId> special_id(std::string_view spelling) const override;
  bool is_control(TokenId id) const override;
  bool is_end(TokenId id) const override;
  std::uint32_t n_vocab() const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  struct Scratch {
    std::vector<Char> chars;
    BpeMerger::Scratch merges;
  };

  explicit BpeTokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  // The steps of create(), in this order.
  Status fill_specials();
  Status fill_merges();
  void fill_words();
  void fill_ends();

  bool has(TokenId id) const;
  void append_plain(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;

  Vocabulary vocabulary_;  // less its merges, once `merger_` has them
  const PreTokenizer* pretokenizer_ = nullptr;
  SpecialTrie specials_;
  BpeMerger merger_;
  // Only if the pre-tokenizer takes whole words: the bytes of ordinary tokens, and their ids.
  StringList words_;
  std::unordered_map<std::string_view, TokenId> id_of_word_;
  std::vector<bool> is_end_;  // [n_vocab]
};

}  // namespace deepwell::engine
