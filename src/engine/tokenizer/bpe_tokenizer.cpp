// Encoding and decoding; bpe_tokenizer_create.cpp builds the tables used here.
#include "engine/tokenizer/bpe_tokenizer.hpp"

#include "engine/tokenizer/byte_alphabet.hpp"

namespace deepwell::engine {
namespace {

/// A stretch of trusted text: [begin, end) in the whole text.
struct TrustedRun {
  std::size_t begin;
  std::size_t end;
};

/// Trusted spans that touch are one run: a special token may be spelled across their border.
std::vector<TrustedRun> trusted_runs(std::span<const TextSpan> spans) {
  std::vector<TrustedRun> runs;
  std::size_t begin = 0;
  for (const TextSpan& span : spans) {
    const std::size_t end = begin + span.text.size();
    if (span.is_trusted && end > begin) {
      if (!runs.empty() && runs.back().end == begin) {
        runs.back().end = end;
      } else {
        runs.push_back({begin, end});
      }
    }
    begin = end;
  }
  return runs;
}

}  // namespace

std::vector<TokenId> BpeTokenizer::encode(std::string_view text) const {
  const TextSpan span{.text = text, .is_trusted = false};
  return encode_spans({&span, 1});
}

std::vector<TokenId> BpeTokenizer::encode_with_specials(std::string_view text) const {
  const TextSpan span{.text = text, .is_trusted = true};
  return encode_spans({&span, 1});
}

std::vector<TokenId> BpeTokenizer::encode_spans(std::span<const TextSpan> spans) const {
  std::string joined;
  std::string_view text;
  if (spans.size() == 1) {
    text = spans[0].text;
  } else {
    for (const TextSpan& span : spans) joined += span.text;
    text = joined;
  }
  Scratch scratch;
  std::vector<TokenId> ids;
  std::size_t plain_begin = 0;
  for (const TrustedRun& run : trusted_runs(spans)) {
    const std::string_view trusted = text.substr(0, run.end);
    auto match = specials_.find(trusted, run.begin);
    while (match.n_bytes > 0) {
      append_plain(text.substr(plain_begin, match.begin - plain_begin), scratch, ids);
      ids.push_back(match.id);
      plain_begin = match.begin + match.n_bytes;
      match = specials_.find(trusted, plain_begin);
    }
  }
  append_plain(text.substr(plain_begin), scratch, ids);
  return ids;
}

void BpeTokenizer::append_plain(std::string_view text, Scratch& scratch,
                                std::vector<TokenId>& ids) const {
  split_chars(text, scratch.chars);
  std::span<const Char> rest = scratch.chars;
  while (!rest.empty()) {
    const std::size_t len = pretokenizer_->len_word(rest);
    std::size_t n_bytes = 0;
    for (const Char& c : rest.first(len)) n_bytes += c.n_bytes;
    const std::string_view word = text.substr(0, n_bytes);
    const auto whole = id_of_word_.find(word);
    if (whole != id_of_word_.end()) {
      ids.push_back(whole->second);
    } else {
      merger_.append(word, scratch.merges, ids);
    }
    text.remove_prefix(n_bytes);
    rest = rest.subspan(len);
  }
}

bool BpeTokenizer::has(TokenId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < vocabulary_.tokens.size();
}

std::string BpeTokenizer::token_bytes(TokenId id, bool show_specials) const {
  if (!has(id)) return {};
  const auto t = static_cast<std::size_t>(id);
  const TokenKind kind = vocabulary_.kinds[t];
  if (kind == TokenKind::kUserDefined) return std::string(vocabulary_.tokens[t]);
  if (is_ordinary(kind)) return unspell_bytes(vocabulary_.tokens[t]);
  return show_specials ? std::string(vocabulary_.tokens[t]) : std::string();
}

std::string BpeTokenizer::decode(std::span<const TokenId> ids, bool show_specials) const {
  std::string text;
  for (const TokenId id : ids) text += token_bytes(id, show_specials);
  return text;
}

std::optional<TokenId> BpeTokenizer::special_id(std::string_view spelling) const {
  const auto match = specials_.find(spelling, 0);
  const bool is_whole = match.begin == 0 && match.n_bytes == spelling.size() && !spelling.empty();
  return is_whole ? std::optional(match.id) : std::nullopt;
}

bool BpeTokenizer::is_control(TokenId id) const {
  if (!has(id)) return false;
  const TokenKind kind = vocabulary_.kinds[static_cast<std::size_t>(id)];
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
}

bool BpeTokenizer::is_end(TokenId id) const {
  return has(id) && is_end_[static_cast<std::size_t>(id)];
}

std::uint32_t BpeTokenizer::n_vocab() const {
  return static_cast<std::uint32_t>(vocabulary_.tokens.size());
}

}  // namespace deepwell::engine
