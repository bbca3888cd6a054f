// LineEditor: reads lines from a terminal with editing, history and UTF-8, over libedit.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace deepwell::apps {

struct LineInput {
  enum class Kind { kLine, kInterrupted, kEnd };
  Kind kind = Kind::kEnd;
  std::string text;  // kLine: without the line feed
};

/// Used on one thread; owns the terminal's mode only while it reads.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// `placeholder` stands grey after the prompt until the first key. Ctrl-C gives kInterrupted, Ctrl-D on an empty
  /// line kEnd.
  LineInput read(std::string_view prompt, std::string_view placeholder);
  void remember(const std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::apps
