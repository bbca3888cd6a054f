// The choice and its memory.
#include "cluster/front/round_robin.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace deepwell::cluster {

RoundRobin::RoundRobin(std::span<const RoundRobinPeer> peers) {
  for (const RoundRobinPeer& peer : peers) {
    states_.push_back({.peer = peer, .effective_weight = peer.weight});
  }
  is_single_ = states_.size() == 1;
}

bool RoundRobin::is_resting(const State& state, Seconds now) const {
  return state.peer.max_fails > 0 && state.n_fails >= state.peer.max_fails &&
         now - state.checked <= state.peer.fail_timeout.count();
}

/// Everybody allowed gains its effective weight; the richest is chosen and pays the sum. A peer that
/// failed regains its weight one step a choice.
std::optional<std::size_t> RoundRobin::best(const std::vector<bool>& is_tried, bool is_backup,
                                            Seconds now) {
  std::optional<std::size_t> best;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    if (state.peer.is_backup != is_backup || state.peer.is_down || is_tried[i]) continue;
    if (!is_single_ && is_resting(state, now)) continue;
    state.current_weight += state.effective_weight;
    total += state.effective_weight;
    if (state.effective_weight < state.peer.weight) ++state.effective_weight;
    if (!best || state.current_weight > states_[*best].current_weight) best = i;
  }
  if (!best) return std::nullopt;
  State& chosen = states_[*best];
  chosen.current_weight -= total;
  if (now - chosen.checked > chosen.peer.fail_timeout.count()) chosen.checked = now;
  return best;
}

RoundRobin::Attempt::Attempt(RoundRobin& owner)
    : owner_(owner), is_tried_(owner.states_.size(), false) {
  n_tries_left_ = static_cast<std::size_t>(
      std::count_if(owner.states_.begin(), owner.states_.end(),
                    [](const State& state) { return !state.peer.is_down; }));
}

std::optional<std::size_t> RoundRobin::Attempt::choose(Seconds now) {
  current_.reset();
  if (n_tries_left_ == 0) return std::nullopt;
  if (!is_on_backups_) {
    current_ = owner_.best(is_tried_, false, now);
    is_on_backups_ = !current_;
  }
  if (is_on_backups_) current_ = owner_.best(is_tried_, true, now);
  if (current_) is_tried_[*current_] = true;
  return current_;
}

void RoundRobin::Attempt::report(bool has_failed, Seconds now) {
  DW_CHECK(current_.has_value(), "report() after choose() that gave a peer");
  State& state = owner_.states_[*current_];
  current_.reset();
  if (owner_.is_single_) {
    n_tries_left_ = 0;
    return;
  }
  --n_tries_left_;
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
