// Runs of equal origin are merged when text is appended; slices find their first run by bisection.
#include "service/chat/jinja/text.hpp"

#include <algorithm>

namespace deepwell::service::jinja {

std::size_t Text::run_index(std::size_t pos) const {
  const auto it = std::upper_bound(runs_.begin(), runs_.end(), pos,
                                   [](std::size_t at, const Run& run) { return at < run.end; });
  return static_cast<std::size_t>(it - runs_.begin());
}

void Text::append(std::string_view bytes, Trust trust) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().trust == trust) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), trust});
  }
}

void Text::append_slice(const Text& other, std::size_t begin, std::size_t end) {
  end = std::min(end, other.n_bytes());
  for (std::size_t r = other.run_index(begin); begin < end; ++r) {
    const std::size_t stop = std::min(end, other.runs_[r].end);
    append(other.view().substr(begin, stop - begin), other.runs_[r].trust);
    begin = stop;
  }
}

Text Text::slice(std::size_t begin, std::size_t end) const {
  Text out;
  out.append_slice(*this, begin, end);
  return out;
}

Trust Text::trust_at(std::size_t pos) const {
  return pos < n_bytes() ? runs_[run_index(pos)].trust : Trust::kData;
}

}  // namespace deepwell::service::jinja
