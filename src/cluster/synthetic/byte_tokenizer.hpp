// ByteTokenizer: a vocabulary of the 256 bytes and a few control tokens, for workers and tests
// without a model file.
#pragma once

#include <memory>

#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::cluster {

/// Ids 0..255 are bytes; from 256 on: <|end|> (ends an answer), <|system|>, <|user|>,
/// <|assistant|>.
class ByteTokenizer final : public engine::Tokenizer {
 public:
  static constexpr std::string_view kModel =
      "bytes";  // Vocabulary::model, by which a front knows it
  static constexpr engine::TokenId kEnd = 256;

  ByteTokenizer();

  std::vector<engine::TokenId> encode(std::string_view text) const override;
  std::vector<engine::TokenId> encode_with_specials(std::string_view text) const override;
  std::vector<engine::TokenId> encode_spans(std::span<const engine::TextSpan> spans) const override;
  std::string token_bytes(engine::TokenId id, bool show_specials) const override;
  std::string decode(std::span<const engine::TokenId> ids, bool show_specials) const override;
  std::optional<engine::TokenId> special_id(std::string_view spelling) const override;
  bool is_control(engine::TokenId id) const override;
  bool is_end(engine::TokenId id) const override { return id == kEnd; }
  std::uint32_t n_vocab() const override;
  const engine::Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  engine::Vocabulary vocabulary_;
};

/// A Jinja chat template that fits the vocabulary. With `is_thought_open` it ends with `<think>`
/// and a line feed, as the templates of DeepSeek-R1's distills do.
std::string byte_chat_template(bool is_thought_open);

}  // namespace deepwell::cluster
