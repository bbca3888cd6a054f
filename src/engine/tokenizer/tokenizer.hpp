// Tokenizer: text to token ids and back, from the vocabulary in the model file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/tokenizer/string_list.hpp"
#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

enum class TokenKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

/// What text is made of: special tokens are all others.
constexpr bool is_ordinary(TokenKind kind) {
  return kind == TokenKind::kNormal || kind == TokenKind::kByte;
}

/// The vocabulary as the model file states it (GGUF keys tokenizer.ggml.*). Plain data.
struct Vocabulary {
  std::string model;             // "gpt2": byte-level BPE
  std::string pre;               // "qwen2", "llama-bpe", "smollm", "deepseek-r1-qwen", ...
  StringList tokens;             // [n_vocab] in the file's byte-to-unicode spelling
  std::vector<TokenKind> kinds;  // [n_vocab]
  StringList merges;             // "left right", best first
  std::optional<TokenId> bos, eos, eot, eom, pad;
  std::vector<TokenId> end_ids;  // further end-of-generation ids
  bool add_bos = false;
};

/// A stretch of text and whether its author may write special tokens: the template may, a user may
/// not.
struct TextSpan {
  std::string_view text;
  bool is_trusted = false;
};

/// Immutable and thread-safe once made. Encoding takes time linear in the text (n log n within one
/// word).
///
/// Special tokens are control and user-defined ones ("<|im_end|>", "<think>"): trusted text yields
/// them wherever it spells them, the longest at each place; untrusted text never does, it is
/// tokenised as the characters it has.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Text that a person or a document wrote. Never yields a special token, whatever the text says.
  /// Invalid UTF-8 is encoded byte by byte, so decode(encode(x)) == x for every byte string. The
  /// one exception are bytes that the vocabulary has no token for (SmolLM2 lacks 21 of 256, none of
  /// them in common text): each becomes U+FFFD. Text is not normalised: NFC is the caller's choice.
  virtual std::vector<TokenId> encode(std::string_view text) const = 0;

  /// Text that a chat template or the operator wrote: spellings of special tokens become those
  /// tokens.
  virtual std::vector<TokenId> encode_with_specials(std::string_view text) const = 0;

  /// A prompt of trusted and untrusted stretches. Words are cut and merged across their borders:
  /// where untrusted text spells no special token, the ids are those of encode_with_specials over
  /// all the text in one.
  virtual std::vector<TokenId> encode_spans(std::span<const TextSpan> spans) const = 0;

  /// The exact bytes of one token (may be part of a UTF-8 character). A control token's bytes are
  /// its spelling if `show_specials`, else empty. Ids outside the vocabulary give an empty string.
  virtual std::string token_bytes(TokenId id, bool show_specials = false) const = 0;

  virtual std::string decode(std::span<const TokenId> ids, bool show_specials = false) const = 0;

  /// The id of a control or user-defined token by its spelling, for example "<|im_end|>".
  virtual std::optional<TokenId> special_id(std::string_view spelling) const = 0;

  virtual bool is_control(TokenId id) const = 0;
  /// Whether the token ends an answer (eos, eot, eom, ...).
  virtual bool is_end(TokenId id) const = 0;
  virtual std::uint32_t n_vocab() const = 0;
  /// What it was made from, but for the merges.
  virtual const Vocabulary& vocabulary() const = 0;

  /// Errors: kInvalidArgument for a vocabulary that contradicts itself, kUnimplemented for a model
  /// or pre-tokenizer that is not supported.
  static Result<std::unique_ptr<Tokenizer>> create(Vocabulary vocabulary);
};

/// Turns a stream of tokens into text without ever splitting a UTF-8 character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool show_specials = false)
      : tokenizer_(tokenizer), show_specials_(show_specials) {}

  /// The text that is certain after this token: complete UTF-8 characters; bytes that can never
  /// become one are replaced by U+FFFD.
  std::string push(TokenId id);

  /// What is left at the end of the stream, incomplete characters replaced by U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool show_specials_;
  std::string pending_;  // an incomplete character's first bytes
};

}  // namespace deepwell::engine
