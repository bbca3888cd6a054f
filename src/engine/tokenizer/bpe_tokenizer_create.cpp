// Checks a vocabulary and builds the tables of a BpeTokenizer from it.
#include <array>
#include <limits>
#include <utility>

#include "base/concat.hpp"
#include "base/utf8.hpp"
#include "engine/tokenizer/bpe_tokenizer.hpp"
#include "engine/tokenizer/byte_alphabet.hpp"

namespace deepwell::engine {
namespace {

using IdOfSpelling = std::unordered_map<std::string_view, TokenId>;

bool is_special(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown ||
         kind == TokenKind::kUserDefined;
}

Status check_id(const Vocabulary& vocabulary, std::string_view what, std::optional<TokenId> id) {
  if (!id || (*id >= 0 && static_cast<std::size_t>(*id) < vocabulary.tokens.size())) return {};
  return invalid_argument(concat("the ", what, " token id ", *id, " is outside the vocabulary of ",
                                 vocabulary.tokens.size(), " tokens; the model file is damaged"));
}

Status check_vocabulary(const Vocabulary& vocabulary) {
  const std::size_t n_vocab = vocabulary.tokens.size();
  if (n_vocab == 0 || n_vocab > std::numeric_limits<TokenId>::max()) {
    return invalid_argument(
        concat("a vocabulary of ", n_vocab, " tokens cannot be used; expected 1 to 2^31 - 1"));
  }
  if (vocabulary.kinds.size() != n_vocab) {
    return invalid_argument(concat("the vocabulary has ", n_vocab, " tokens but ",
                                   vocabulary.kinds.size(),
                                   " token types; the model file is damaged"));
  }
  if (vocabulary.merges.size() >= BpeMerger::kNMaxMerges) {
    return invalid_argument(concat("a vocabulary with ", vocabulary.merges.size(),
                                   " merges cannot be used; at most ", BpeMerger::kNMaxMerges - 1,
                                   " are supported"));
  }
  DW_TRY(check_id(vocabulary, "bos", vocabulary.bos));
  DW_TRY(check_id(vocabulary, "eos", vocabulary.eos));
  DW_TRY(check_id(vocabulary, "eot", vocabulary.eot));
  DW_TRY(check_id(vocabulary, "eom", vocabulary.eom));
  DW_TRY(check_id(vocabulary, "padding", vocabulary.pad));
  for (const TokenId id : vocabulary.end_ids) DW_TRY(check_id(vocabulary, "end-of-generation", id));
  return {};
}

std::string names_of_pretokenizers() {
  std::string names;
  for (const PreTokenizer& entry : pretokenizers()) {
    if (!names.empty()) names += ", ";
    names += entry.name;
  }
  return names;
}

/// Ordinary tokens by their spelling; of equal spellings the lowest id counts.
IdOfSpelling ordinary_ids(const Vocabulary& vocabulary) {
  IdOfSpelling ids;
  ids.reserve(vocabulary.tokens.size());
  for (std::size_t t = 0; t < vocabulary.tokens.size(); ++t) {
    if (is_ordinary(vocabulary.kinds[t]))
      ids.emplace(vocabulary.tokens[t], static_cast<TokenId>(t));
  }
  return ids;
}

std::optional<TokenId> find_id(const IdOfSpelling& ids, std::string_view spelling) {
  const auto found = ids.find(spelling);
  return found == ids.end() ? std::nullopt : std::optional(found->second);
}

/// The ids that each byte starts as. A byte without a token starts as the bytes of U+FFFD.
Result<std::array<BpeMerger::ByteIds, 256>> byte_ids(const IdOfSpelling& ids) {
  std::array<BpeMerger::ByteIds, 256> all{};
  BpeMerger::ByteIds replacement{};
  for (const char c : kReplacementCharacter) {
    const auto id = find_id(ids, spell_byte(static_cast<std::uint8_t>(c)));
    if (id) replacement.ids[replacement.n_ids++] = *id;
  }
  for (std::size_t byte = 0; byte < all.size(); ++byte) {
    const auto id = find_id(ids, spell_byte(static_cast<std::uint8_t>(byte)));
    if (!id && replacement.n_ids != kReplacementCharacter.size()) {
      return invalid_argument(concat("the vocabulary has no token for the byte ", byte,
                                     ", nor for the bytes of U+FFFD; it is not a byte-level one"));
    }
    all[byte] = id ? BpeMerger::ByteIds{{*id, 0, 0}, 1} : replacement;
  }
  return all;
}

/// The merges as ids. One that involves a special token is left out: text must not become such a
/// token.
Result<std::vector<BpeMerge>> merge_ids(const Vocabulary& vocabulary,
                                        const IdOfSpelling& ordinary) {
  std::vector<BpeMerge> merges;
  merges.reserve(vocabulary.merges.size());
  IdOfSpelling others;
  for (std::size_t t = 0; t < vocabulary.tokens.size(); ++t) {
    if (!is_ordinary(vocabulary.kinds[t]))
      others.emplace(vocabulary.tokens[t], static_cast<TokenId>(t));
  }
  std::string merged;
  for (std::size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const std::size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      return invalid_argument(
          concat("merge ", i, " '", merge, "' is not two tokens with a space between them"));
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    merged.assign(left).append(right);
    bool is_usable = true;
    std::array<TokenId, 3> ids{};
    std::size_t n_found = 0;
    for (const std::string_view part : {left, right, std::string_view(merged)}) {
      if (const auto found = ordinary.find(part); found != ordinary.end()) {
        ids[n_found++] = found->second;
        continue;
      }
      if (!others.contains(part)) {
        return invalid_argument(
            concat("merge ", i, " '", merge, "' needs the token '", part,
                   "', which the vocabulary does not have; the model file is damaged"));
      }
      is_usable = false;
    }
    if (is_usable) merges.push_back({ids[0], ids[1], ids[2]});
  }
  return merges;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::create(Vocabulary vocabulary) {
  DW_TRY(check_vocabulary(vocabulary));
  const PreTokenizer* pretokenizer = find_pretokenizer(vocabulary.pre);
  if (pretokenizer == nullptr) {
    return Error{
        Code::kUnimplemented,
        concat("the pre-tokenizer '", vocabulary.pre,
               "' (tokenizer.ggml.pre) is not supported; supported: ", names_of_pretokenizers())};
  }
  auto tokenizer = std::unique_ptr<BpeTokenizer>(new BpeTokenizer(std::move(vocabulary)));
  tokenizer->pretokenizer_ = pretokenizer;
  DW_TRY(tokenizer->fill_specials());
  DW_TRY(tokenizer->fill_merges());
  if (pretokenizer->takes_whole_words) tokenizer->fill_words();
  tokenizer->fill_ends();
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

Status BpeTokenizer::fill_specials() {
  std::vector<std::pair<std::string_view, TokenId>> spellings;
  std::size_t n_bytes = 0;
  for (std::size_t t = 0; t < vocabulary_.tokens.size(); ++t) {
    if (!is_special(vocabulary_.kinds[t])) continue;
    spellings.emplace_back(vocabulary_.tokens[t], static_cast<TokenId>(t));
    n_bytes += vocabulary_.tokens[t].size();
  }
  if (n_bytes >= PairTable::kNone) {
    return invalid_argument(concat("the spellings of special tokens have ", n_bytes,
                                   " bytes; the model file is damaged"));
  }
  specials_ = SpecialTrie(spellings);
  return {};
}

Status BpeTokenizer::fill_merges() {
  const IdOfSpelling ordinary = ordinary_ids(vocabulary_);
  DW_ASSIGN(const auto ids_of_byte, byte_ids(ordinary));
  DW_ASSIGN(const auto merges, merge_ids(vocabulary_, ordinary));
  merger_ = BpeMerger(ids_of_byte, merges);
  const StringList dropped = std::move(vocabulary_.merges);
  return {};
}

void BpeTokenizer::fill_words() {
  const std::size_t n_vocab = vocabulary_.tokens.size();
  words_.reserve(n_vocab, vocabulary_.tokens.n_bytes());  // views into it last
  id_of_word_.reserve(n_vocab);
  for (std::size_t t = 0; t < n_vocab; ++t) {
    if (!is_ordinary(vocabulary_.kinds[t])) continue;
    words_.push_back(unspell_bytes(vocabulary_.tokens[t]));
    id_of_word_.emplace(words_[words_.size() - 1], static_cast<TokenId>(t));
  }
}

void BpeTokenizer::fill_ends() {
  is_end_.assign(vocabulary_.tokens.size(), false);
  for (const auto id : {vocabulary_.eos, vocabulary_.eot, vocabulary_.eom}) {
    if (id) is_end_[static_cast<std::size_t>(*id)] = true;
  }
  for (const TokenId id : vocabulary_.end_ids) is_end_[static_cast<std::size_t>(id)] = true;
}

}  // namespace deepwell::engine
