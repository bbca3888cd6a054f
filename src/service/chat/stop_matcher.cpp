// Looks at each byte as the possible last one of a stop string.
#include "service/chat/stop_matcher.hpp"

#include <algorithm>

#include "service/chat/partial_match.hpp"

namespace deepwell::service {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
  std::stable_sort(stops_.begin(), stops_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
}

std::string StopMatcher::push(std::string_view piece) {
  if (is_matched()) return {};
  const std::size_t n_known = held_.size();  // no stop string ends in here, or it had matched
  held_.append(piece);
  for (std::size_t end = n_known + 1; end <= held_.size(); ++end) {
    const std::string_view seen = std::string_view(held_).substr(0, end);
    for (const std::string& stop : stops_) {
      if (!seen.ends_with(stop)) continue;
      matched_ = stop;
      std::string before(seen.substr(0, end - stop.size()));
      held_.clear();
      return before;
    }
  }
  std::size_t n_held = 0;
  for (const std::string& stop : stops_) n_held = std::max(n_held, partial_match(held_, stop));
  std::string sure = held_.substr(0, held_.size() - n_held);
  held_.erase(0, sure.size());
  return sure;
}

}  // namespace deepwell::service
