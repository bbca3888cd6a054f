// What is new in an event.
#include "cluster/front/flights.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::cluster {

Result<bool> take_news(Flight& flight, engine::GenerationEvent& event) {
  std::vector<engine::TokenId>& known = flight.request.generated;
  if (event.position > known.size()) {
    return data_loss(concat("a worker sent token ", event.position, " of a generation of which ",
                            known.size(), " are known"));
  }
  const std::size_t n_old = std::min(known.size() - event.position, event.ids.size());
  event.ids.erase(event.ids.begin(), event.ids.begin() + static_cast<std::ptrdiff_t>(n_old));
  // An attempt that is behind may end only where the tokens end that are known.
  const bool is_behind = event.position + n_old < known.size();
  if (is_behind) {
    event.finish = engine::FinishReason::kNone;
    event.error.reset();
  }
  event.position = static_cast<std::uint32_t>(known.size());
  known.insert(known.end(), event.ids.begin(), event.ids.end());
  if (flight.was_resumed) event.n_cached_tok = 0;  // of this prompt's first computation only
  const bool is_prefill_news = !is_behind && !flight.was_resumed && known.empty();
  return !event.ids.empty() || event.is_last() || event.n_mismatched_tok > 0 || is_prefill_news;
}

std::uint32_t n_verifiable(const Flight& flight, std::uint32_t n_wanted) {
  const auto n_known = static_cast<std::uint32_t>(flight.request.generated.size());
  return std::min(n_wanted, n_known - std::min(n_known, flight.n_forced_end));
}

}  // namespace deepwell::cluster
