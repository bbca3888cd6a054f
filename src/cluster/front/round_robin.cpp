// The choice and its memory.
#include "cluster/front/round_robin.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace deepwell::cluster {

RoundRobin::RoundRobin(std::span<const RoundRobinPeer> peers) {
  for (const RoundRobinPeer& peer : peers) add(peer);
}

std::size_t RoundRobin::add(const RoundRobinPeer& peer) {
  states_.push_back({.peer = peer, .effective_weight = peer.weight});
  return states_.size() - 1;
}

bool RoundRobin::is_resting(std::size_t peer, Seconds now) const {
  const State& state = states_[peer];
  return states_.size() > 1 && state.peer.max_fails > 0 && state.n_fails >= state.peer.max_fails &&
         now - state.checked <= state.peer.fail_timeout.count();
}

void RoundRobin::note_choice(std::size_t peer, Seconds now) {
  State& state = states_[peer];
  if (now - state.checked > state.peer.fail_timeout.count()) state.checked = now;
}

std::optional<std::size_t> RoundRobin::choose(const std::vector<bool>& is_out, Seconds now) {
  DW_CHECK(is_out.size() == states_.size(), "one word for each peer");
  const std::optional<std::size_t> chosen = best(is_out, false, now);
  return chosen ? chosen : best(is_out, true, now);
}

/// Everybody allowed gains its effective weight; the richest is chosen and pays the sum. A peer that
/// failed regains its weight one step a choice.
std::optional<std::size_t> RoundRobin::best(const std::vector<bool>& is_out, bool is_backup,
                                            Seconds now) {
  std::optional<std::size_t> best;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    if (state.peer.is_backup != is_backup || state.peer.is_down || is_out[i]) continue;
    if (is_resting(i, now)) continue;
    state.current_weight += state.effective_weight;
    total += state.effective_weight;
    if (state.effective_weight < state.peer.weight) ++state.effective_weight;
    if (!best || state.current_weight > states_[*best].current_weight) best = i;
  }
  if (!best) return std::nullopt;
  states_[*best].current_weight -= total;
  note_choice(*best, now);
  return best;
}

void RoundRobin::report(std::size_t peer, bool has_failed, Seconds now) {
  State& state = states_[peer];
  if (states_.size() == 1) return;
  if (!has_failed) {
    // A peer that was tried again after its rest, and did well, begins anew.
    if (state.last_failure < state.checked) state.n_fails = 0;
    return;
  }
  ++state.n_fails;
  state.last_failure = state.checked = now;
  if (state.peer.max_fails == 0) return;
  const std::int64_t loss = state.peer.weight / state.peer.max_fails;
  state.effective_weight = std::max<std::int64_t>(0, state.effective_weight - loss);
}

}  // namespace deepwell::cluster
