// StopMatcher: ends an answer before the first of some strings, while the text streams.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deepwell::service {

/// The answer ends where the first stop string is complete; of several that are complete with the same byte, the
/// longest counts. Text before it is given out, the stop string and all after it never. Text is held back only while
/// it may be a stop string's beginning. The pieces may be cut anywhere: the joined result is the same. Characters are
/// never split as long as the stop strings are UTF-8 and the pieces are whole characters.
class StopMatcher {
 public:
  /// Empty strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  /// The text that is certain to come before any stop string; nothing once is_matched().
  std::string push(std::string_view piece);
  /// The text held back when the answer has ended without a stop string.
  std::string finish() { return std::exchange(held_, {}); }

  bool is_matched() const { return !matched_.empty(); }
  /// The stop string that ended the answer; empty if none has.
  const std::string& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;  // longest first
  std::string held_;                // an end of the text that may begin a stop string
  std::string matched_;
};

}  // namespace deepwell::service
