// The byte vocabulary of synthetic workers and of tests.
#include "cluster/synthetic/byte_tokenizer.hpp"

namespace deepwell::cluster {

using engine::TokenId;
using engine::TokenKind;

ByteTokenizer::ByteTokenizer() {
  vocabulary_.model = kModel;
  for (int byte = 0; byte < 256; ++byte) {
    const auto character = static_cast<char>(byte);
    vocabulary_.tokens.push_back({&character, 1});
    vocabulary_.kinds.push_back(TokenKind::kByte);
  }
  for (const char* control : {"<|end|>", "<|system|>", "<|user|>", "<|assistant|>"}) {
    vocabulary_.tokens.push_back(control);
    vocabulary_.kinds.push_back(TokenKind::kControl);
  }
  vocabulary_.eos = kEnd;
}

std::vector<TokenId> ByteTokenizer::encode(std::string_view text) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::vector<TokenId> ByteTokenizer::encode_with_specials(std::string_view text) const {
  std::vector<TokenId> ids;
  while (!text.empty()) {
    std::size_t n_taken = 1;
    TokenId id = static_cast<unsigned char>(text.front());
    for (std::size_t control = 256; control < vocabulary_.tokens.size(); ++control) {
      if (!text.starts_with(vocabulary_.tokens[control])) continue;
      id = static_cast<TokenId>(control);
      n_taken = vocabulary_.tokens[control].size();
    }
    ids.push_back(id);
    text.remove_prefix(n_taken);
  }
  return ids;
}

std::vector<TokenId> ByteTokenizer::encode_spans(std::span<const engine::TextSpan> spans) const {
  std::vector<TokenId> ids;
  for (const engine::TextSpan& span : spans) {
    const auto part = span.is_trusted ? encode_with_specials(span.text) : encode(span.text);
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return ids;
}

std::string ByteTokenizer::token_bytes(TokenId id, bool show_specials) const {
  if (id < 0 || id >= static_cast<TokenId>(n_vocab())) return {};
  if (is_control(id) && !show_specials) return {};
  return std::string(vocabulary_.tokens[static_cast<std::size_t>(id)]);
}

std::string ByteTokenizer::decode(std::span<const TokenId> ids, bool show_specials) const {
  std::string text;
  for (const TokenId id : ids) text += token_bytes(id, show_specials);
  return text;
}

std::optional<TokenId> ByteTokenizer::special_id(std::string_view spelling) const {
  for (std::size_t control = 256; control < vocabulary_.tokens.size(); ++control) {
    if (vocabulary_.tokens[control] == spelling) return static_cast<TokenId>(control);
  }
  return std::nullopt;
}

bool ByteTokenizer::is_control(TokenId id) const {
  return id >= kEnd && id < static_cast<TokenId>(n_vocab());
}

std::uint32_t ByteTokenizer::n_vocab() const {
  return static_cast<std::uint32_t>(vocabulary_.tokens.size());
}

std::string byte_chat_template(bool is_thought_open) {
  std::string text =
      "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% "
      "endfor %}"
      "{% if add_generation_prompt %}<|assistant|>";
  if (is_thought_open) text += "{{ '<think>\\n' }}";
  return text + "{% endif %}";
}

}  // namespace deepwell::cluster
