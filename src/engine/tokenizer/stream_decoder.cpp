// StreamDecoder: holds back the first bytes of an unfinished character.
#include "base/utf8.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {

std::string StreamDecoder::push(TokenId id) {
  pending_ += tokenizer_.token_bytes(id, show_specials_);
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.kind == Utf8Step::Kind::kIncomplete) break;
    text += step.kind == Utf8Step::Kind::kCharacter ? rest.substr(0, step.n_bytes)
                                                    : kReplacementCharacter;
    rest.remove_prefix(step.n_bytes);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string StreamDecoder::finish() {
  // What push() left is at most one unfinished character, so one replacement stands for it.
  const bool is_unfinished = !pending_.empty();
  pending_.clear();
  return std::string(is_unfinished ? kReplacementCharacter : std::string_view());
}

}  // namespace deepwell::engine
