// Chooses the tokenizer that a vocabulary asks for: one line per kind.
#include "engine/tokenizer/tokenizer.hpp"

#include <utility>

#include "base/concat.hpp"
#include "engine/tokenizer/bpe_tokenizer.hpp"

namespace deepwell::engine {

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(Vocabulary vocabulary) {
  if (vocabulary.model == "gpt2") return BpeTokenizer::create(std::move(vocabulary));
  return Error{Code::kUnimplemented,
               concat("the tokenizer model '", vocabulary.model,
                      "' (tokenizer.ggml.model) is not supported; supported: gpt2")};
}

}  // namespace deepwell::engine
