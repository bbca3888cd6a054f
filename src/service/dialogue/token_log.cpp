// Appending a generation's events to its log of tokens.
#include "service/dialogue/token_log.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::service {

Status TokenLog::append(const engine::GenerationEvent& event) {
  at = std::chrono::steady_clock::now();
  n_cached_tok = std::max(n_cached_tok, event.n_cached_tok);
  if (event.ids.empty()) return {};  // such an event has no position
  if (event.position > ids.size()) {
    return data_loss(concat("token ", ids.size(), " is missing: the next one is ", event.position));
  }
  const std::size_t n_known = ids.size() - event.position;
  if (n_known < event.ids.size()) {
    ids.insert(ids.end(), event.ids.begin() + static_cast<std::ptrdiff_t>(n_known),
               event.ids.end());
  }
  return {};
}

}  // namespace deepwell::service
