// The list of pre-tokenizers: a new one is an entry here, with rules or a function in a file of its
// own.
#include "engine/tokenizer/pretokenizer.hpp"

#include "base/utf8.hpp"
#include "engine/tokenizer/word_rules.hpp"

namespace deepwell::engine {
namespace {

// The expressions are those of the models' own tokenizer.json; word_rules.hpp has their common
// form.

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr WordRules kGpt2 = {.is_any_case = false,
                             .is_any_prefix = false,
                             .n_max_digits = kUnlimited,
                             .is_space_before_number = true,
                             .is_ended_by_newlines = false};

// Digits(individual_digits), then GPT-2's expression on each part.
constexpr WordRules kSmolLm = {.is_any_case = false,
                               .is_any_prefix = false,
                               .is_cut_at_numbers = true,
                               .is_ended_by_newlines = false};

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
constexpr WordRules kQwen2 = {};

// As Qwen2's, but \p{N}{1,3}.
constexpr WordRules kLlama3 = {.n_max_digits = 3};

constexpr PreTokenizer kPreTokenizers[] = {
    {.name = "smollm", .len_word = len_word_by_rules<kSmolLm>},
    {.name = "qwen2", .len_word = len_word_by_rules<kQwen2>},
    {.name = "deepseek-r1-qwen", .len_word = len_word_by_rules<kQwen2>},
    {.name = "llama-bpe",
     .len_word = len_word_by_rules<kLlama3>,
     .takes_whole_words = true,
     .adds_bos = true},
    {.name = "gpt-2", .len_word = len_word_by_rules<kGpt2>},
};

}  // namespace

std::span<const PreTokenizer> pretokenizers() { return kPreTokenizers; }

const PreTokenizer* find_pretokenizer(std::string_view name) {
  for (const PreTokenizer& entry : kPreTokenizers) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void split_chars(std::string_view text, std::vector<Char>& chars) {
  chars.clear();
  chars.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    // A byte that is not UTF-8 is a character of its own, of no class: it may stand beside
    // anything.
    const bool is_character = step.kind == Utf8Step::Kind::kCharacter;
    const std::uint8_t n_bytes = is_character ? step.n_bytes : std::uint8_t{1};
    const CharClasses classes = is_character ? char_classes(step.code_point) : CharClasses{kOther};
    chars.push_back({.code_point = step.code_point, .classes = classes, .n_bytes = n_bytes});
    text.remove_prefix(n_bytes);
  }
}

}  // namespace deepwell::engine
