// Reads the vocabulary of a model file.
#pragma once

#include "base/result.hpp"
#include "engine/gguf/gguf.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace deepwell::engine {

/// The keys tokenizer.ggml.* as a Vocabulary
/// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Its end_ids are the control tokens
/// that are known, by their spelling, to end an answer. Errors: kNotFound for a missing key,
/// kInvalidArgument for one of another type or with a value that cannot be.
Result<Vocabulary> read_vocabulary(const GgufFile& file);

/// The control tokens of `vocabulary` that end an answer by their spelling, for example
/// "<|eot_id|>".
std::vector<TokenId> find_end_ids(const Vocabulary& vocabulary);

}  // namespace deepwell::engine
