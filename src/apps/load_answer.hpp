// LoadAnswer: what an OpenAI-compatible event stream said, put together from its chunks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/load_parser.hpp"

namespace deepwell::apps {

struct LoadChoice {
  std::string reasoning;
  std::string content;
  std::string finish_reason;  // empty: it did not end

  bool operator==(const LoadChoice&) const = default;
};

struct LoadAnswer {
  std::string id;  // of the chunks
  std::vector<LoadChoice> choices;
  std::string usage;                   // JSON; empty: none came
  std::uint64_t n_completion_tok = 0;  // of the usage, as the next two
  std::uint64_t n_prompt_tok = 0;
  std::uint64_t n_cached_tok = 0;  // of the prompt
  bool is_done = false;            // [DONE] came
  bool is_continued = false;       // the server says that it could not promise the very same tokens
  bool is_resumable = true;  // false: the server says that it would not survive this answer's front
  std::string error;         // of an error event: type, code and message
  bool is_error_resumable = false;  // the server says that the rest can be had elsewhere

  /// The same for a reader: reasoning, content, finish_reason and usage of each choice. How many prompt tokens
  /// were cached is masked: the second asking finds what the first one left.
  bool equals(const LoadAnswer& other) const;
  /// Where and how they differ, in a few words; empty if they are equal.
  std::string difference(const LoadAnswer& other) const;
};

/// Reads the events of one answer, over several connections if it must. Events that come again are counted and
/// not read a second time.
class AnswerReader {
 public:
  enum class Kind : std::uint8_t { kToken, kOther, kDuplicate, kDone, kError };

  /// Error: kDataLoss, an event that is no JSON object.
  Result<Kind> take(const StreamEvent& event);

  const LoadAnswer& answer() const { return answer_; }
  LoadAnswer& answer() { return answer_; }
  /// The id of the last event, to go on behind it; empty if there was none.
  const std::string& cursor() const { return cursor_; }

 private:
  bool is_behind(std::string_view cursor) const;
  bool take_known_shape(std::string_view data);
  Result<Kind> take_json(std::string_view data, bool is_error);
  void learn_shape(std::string_view data);

  LoadAnswer answer_;
  std::string cursor_;
  // The bytes around the text of the last chunk that held nothing but content for choice 0. A chunk that has
  // the same ones has the same fields: nothing of it needs to be parsed but the text. A thousand streams would
  // else cost this client more than they cost the server.
  std::string before_text_;
  std::string behind_text_;
};

}  // namespace deepwell::apps
