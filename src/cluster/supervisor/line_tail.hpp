// LineTail: cuts a stream of bytes into lines and remembers the last ones.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

namespace deepwell::cluster {

class LineTail {
 public:
  static constexpr std::size_t kMaxLines = 50;
  static constexpr std::size_t kMaxLineBytes = 4096;  // a longer line is cut into several

  /// Whole lines of what came so far and was not returned yet, each with its line feed.
  std::string add(std::string_view bytes);
  /// The line that has no end yet, with a line feed; for when nothing more comes.
  std::string finish();
  /// The last lines, without line feeds, oldest first.
  const std::deque<std::string>& lines() const { return lines_; }

 private:
  void take_line(std::string_view line, std::string& out);

  std::string partial_;
  std::deque<std::string> lines_;
};

}  // namespace deepwell::cluster
