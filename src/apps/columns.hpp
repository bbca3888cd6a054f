// Tables on a terminal.
#pragma once

#include <string>
#include <vector>

namespace deepwell::apps {

/// Rows of the same number of cells as text, columns padded to their widest cell (Chinese counts double), three
/// spaces between them, one line a row.
std::string format_columns(const std::vector<std::vector<std::string>>& rows);

}  // namespace deepwell::apps
