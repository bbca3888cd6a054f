// Appending events, reading tails.
#include "service/dialogue/token_log.hpp"

#include <algorithm>

#include "base/concat.hpp"

namespace deepwell::service {

void TokenLog::on_event(engine::GenerationEvent event) {
  {
    const std::lock_guard lock(mutex_);
    at_ = std::chrono::steady_clock::now();
    n_cached_tok_ = std::max(n_cached_tok_, event.n_cached_tok);
    if (!event.ids.empty() && event.position > ids_.size()) {
      // Text must never close up over tokens that got lost.
      error_ =
          data_loss(concat("token ", ids_.size(), " is missing: the next one is ", event.position));
    } else if (!error_) {
      append(event);
      finish_ = event.finish;
      if (event.error) error_ = std::move(event.error);
    }
  }
  news_->notify();
}

void TokenLog::append(const engine::GenerationEvent& event) {
  // An attach may repeat tokens that are here already.
  for (std::size_t i = 0; i < event.ids.size(); ++i) {
    if (event.position + i >= ids_.size()) ids_.push_back(event.ids[i]);
  }
}

TokenLog::Tail TokenLog::read(std::size_t from) const {
  const std::lock_guard lock(mutex_);
  Tail tail;
  if (from < ids_.size()) {
    tail.ids.assign(ids_.begin() + static_cast<std::ptrdiff_t>(from), ids_.end());
  }
  tail.finish = finish_;
  tail.error = error_;
  tail.n_cached_tok = n_cached_tok_;
  tail.at = at_;
  return tail;
}

}  // namespace deepwell::service
