// LoadQuestions: what a load client asks, in plain words, so that every tokenizer counts about the same.
#pragma once

#include <cstdint>
#include <string>

namespace deepwell::apps {

/// Numbered requests with fixed seeds: request n of a run is question first + n, or with n_distinct first +
/// n % n_distinct.
struct LoadQuestions {
  std::string model;              // empty: the server's first
  std::uint32_t n_distinct = 64;  // 0: no question comes twice
  std::uint64_t first = 0;        // another one asks other questions of the same kind
  std::uint32_t max_tok = 64;
  std::uint32_t n_prompt_tok = 32;  // of the message, about; the server's template adds its own
  // Of a system message that all questions of one `first` share, about; 0: none.
  std::uint32_t n_shared_tok = 0;
  double long_share = 0;            // of the questions, spread evenly
  std::uint32_t n_long_tok = 4096;  // their prompts
  double temperature = 0.8;
  bool ignore_end = false;  // "ignore_eos": as llama-server, vLLM and we have it

  std::uint64_t question_of(std::uint64_t number) const {
    return first + (n_distinct == 0 ? number : number % n_distinct);
  }
  bool is_long(std::uint64_t number) const;
};

/// The JSON body of the streamed chat completion that request `number` is.
std::string question_body(const LoadQuestions& questions, std::uint64_t number);

/// The same with a prompt of so many tokens, about.
std::string question_body(const LoadQuestions& questions, std::uint64_t number,
                          std::uint32_t n_prompt_tok);

/// Sentences of about so many tokens, from a list of short words; another `seed` gives other sentences.
std::string plain_text(std::uint64_t seed, std::uint32_t n_tok);

}  // namespace deepwell::apps
