// Cutting bytes into lines.
#include "cluster/supervisor/line_tail.hpp"

namespace deepwell::cluster {

std::string LineTail::add(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    partial_.append(bytes.substr(0, end));
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    while (partial_.size() > kMaxLineBytes) {
      take_line(std::string_view(partial_).substr(0, kMaxLineBytes), out);
      partial_.erase(0, kMaxLineBytes);
    }
    if (end == std::string_view::npos) break;
    take_line(partial_, out);
    partial_.clear();
  }
  return out;
}

std::string LineTail::finish() { return partial_.empty() ? std::string() : add("\n"); }

void LineTail::take_line(std::string_view line, std::string& out) {
  out.append(line);
  out.push_back('\n');
  lines_.emplace_back(line);
  if (lines_.size() > kMaxLines) lines_.pop_front();
}

}  // namespace deepwell::cluster
