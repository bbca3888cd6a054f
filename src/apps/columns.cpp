// Padding cells into columns.
#include "apps/columns.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace deepwell::apps {

std::string format_columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  for (const std::vector<std::string>& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out += std::string(widths[i] + 3 - display_width(row[i]), ' ');
    }
    out += "\n";
  }
  return out;
}

}  // namespace deepwell::apps
