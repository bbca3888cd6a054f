// Sentences out of short lists of words, and the request around them.
#include "apps/load_question.hpp"

#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

constexpr std::uint64_t kFirstSeed = 20'000;
constexpr std::uint64_t kSharedText = std::uint64_t{1} << 63;  // no question has this number

// Each is one token with the space before it in every byte-level vocabulary that was tried.
constexpr std::string_view kAdjectives[] = {"old",   "new",   "small", "large", "quiet", "bright",
                                            "cold",  "warm",  "deep",  "green", "white", "black",
                                            "early", "heavy", "empty", "great"};
constexpr std::string_view kNouns[] = {"river", "bridge", "lamp",   "ship",  "clock", "garden",
                                       "house", "road",   "window", "table", "stone", "field",
                                       "tree",  "book",   "letter", "ring"};
constexpr std::string_view kVerbs[] = {"carries", "finds", "leaves", "moves",  "keeps", "shows",
                                       "follows", "holds", "meets",  "covers", "takes", "needs"};
constexpr std::uint32_t kSentenceTok = 8;  // the five words below, two articles and a full stop

// Vigna's splitmix64 (https://prng.di.unimi.it/splitmix64.c describes it): one draw per word.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed) {}

  template <std::size_t n>
  std::string_view from(const std::string_view (&words)[n]) {
    return words[next() % n];
  }

 private:
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  std::uint64_t state_;
};

}  // namespace

bool LoadQuestions::is_long(std::uint64_t number) const {
  const auto n = static_cast<double>(number);
  return std::floor((n + 1) * long_share) > std::floor(n * long_share);
}

std::string plain_text(std::uint64_t seed, std::uint32_t n_tok) {
  Draw draw(seed);
  std::string text;
  for (std::uint32_t n = 0; n + kSentenceTok <= n_tok; n += kSentenceTok) {
    const std::string_view adjective = draw.from(kAdjectives);
    const std::string_view noun = draw.from(kNouns);
    const std::string_view verb = draw.from(kVerbs);
    const std::string_view other = draw.from(kAdjectives);
    text += concat(" The ", adjective, " ", noun, " ", verb, " the ", other, " ", draw.from(kNouns),
                   ".");
  }
  return text;
}

std::string question_body(const LoadQuestions& questions, std::uint64_t number) {
  return question_body(questions, number,
                       questions.is_long(number) ? questions.n_long_tok : questions.n_prompt_tok);
}

std::string question_body(const LoadQuestions& questions, std::uint64_t number,
                          std::uint32_t n_prompt_tok) {
  const std::uint64_t question = questions.question_of(number);
  // Small models go on for hundreds of tokens with this. Past an answer's end (--ignore-eos) come tokens that have no
  // text: no event tells of them, and they look like pauses.
  constexpr std::string_view kRequest =
      " Tell a very long story with all of this in it, chapter by chapter.";
  constexpr std::uint32_t kFrameTok = 24;  // the number and the request
  const std::uint32_t n_text_tok = n_prompt_tok > kFrameTok ? n_prompt_tok - kFrameTok : 0;
  // The number comes first, so that no two prompts share more than the template's own beginning.
  const std::string prompt =
      concat("Text ", question, ".", plain_text(question, n_text_tok), kRequest);
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (questions.n_shared_tok > 0) {
    const std::uint64_t shared = kSharedText + questions.first;
    messages.push_back({{"role", "system"},
                        {"content", concat("Notes ", questions.first, ".",
                                           plain_text(shared, questions.n_shared_tok))}});
  }
  messages.push_back({{"role", "user"}, {"content", prompt}});
  nlohmann::ordered_json body;
  if (!questions.model.empty()) body["model"] = questions.model;
  body["messages"] = std::move(messages);
  body["max_tokens"] = questions.max_tok;
  body["temperature"] = questions.temperature;
  body["seed"] = kFirstSeed + question;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  if (questions.ignore_end) body["ignore_eos"] = true;
  return body.dump();
}

}  // namespace deepwell::apps
