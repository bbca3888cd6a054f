// Two queues, a table of what was read, and the thread between them and the store.
#include "engine/runtime/block_spill.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.hpp"

namespace deepwell::engine {

namespace {

constexpr std::chrono::milliseconds kTendInterval{1'000};
constexpr std::chrono::milliseconds kStale{1'000};
constexpr std::size_t kMaxUsed = 1 << 16;  // notes of use between two calls of tend()

}  // namespace

BlockSpill::BlockSpill(std::shared_ptr<BlockStore> store, BlockSpillOptions options, Log& log)
    : store_(std::move(store)),
      options_(std::move(options)),
      n_copies_(static_cast<std::uint32_t>(
          std::clamp<std::uint64_t>(options_.max_copy_bytes / options_.block_bytes, 4, 256))),
      log_(log),
      tend_at_(Clock::now() + kTendInterval) {
  begin();
  thread_ = std::thread([this] { thread_main(); });
}

BlockSpill::~BlockSpill() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    stop_by_ = Clock::now() + options_.farewell;
  }
  has_work_.notify_one();
  thread_.join();
}

// --- the engine's thread ---------------------------------------------------------------------------------------------

/// The caller holds mutex_.
bool BlockSpill::is_stuck() const {
  return calling_since_ != Clock::time_point::max() &&
         Clock::now() - calling_since_ > options_.patience;
}

/// The caller holds mutex_.
void BlockSpill::drop_stale() {
  const auto limit = Clock::now() - kStale;
  std::erase_if(fetches_, [&](const auto& fetch) {
    return fetch.second.is_here && fetch.second.here_since < limit;
  });
}

BlockNews BlockSpill::ask(const BlockLabel& label) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = fetches_.find(label.name);
    if (known != fetches_.end() && known->second.is_here) return BlockNews::kHere;
    if (is_stuck()) return BlockNews::kAbsent;
    if (known != fetches_.end()) return BlockNews::kComing;
    if (Clock::now() < no_load_before_) return BlockNews::kAbsent;
  }
  if (!store_->has(label.name)) return BlockNews::kAbsent;
  {
    const std::lock_guard lock(mutex_);
    if (fetches_.size() >= n_copies_) drop_stale();
    if (fetches_.size() >= n_copies_) return BlockNews::kComing;
    fetches_.try_emplace(label.name);
    to_load_.push_back(label);
  }
  has_work_.notify_one();
  return BlockNews::kComing;
}

void BlockSpill::take(const BlockName& name, std::span<std::byte> place) {
  const std::lock_guard lock(mutex_);
  const auto found = fetches_.find(name);
  DW_CHECK(found != fetches_.end() && found->second.is_here &&
               found->second.bytes.size() == place.size(),
           "take() after kHere only");
  std::memcpy(place.data(), found->second.bytes.data(), place.size());
  spare_.push_back(std::move(found->second.bytes));
  fetches_.erase(found);
}

bool BlockSpill::can_keep() const {
  const std::lock_guard lock(mutex_);
  return to_save_.size() < n_copies_;
}

bool BlockSpill::keep(BlockLabel label, std::span<const std::byte> bytes) {
  const bool is_there = store_->has(label.name);
  Save save;
  {
    const std::lock_guard lock(mutex_);
    if (is_there) {
      if (used_.size() < kMaxUsed) used_.push_back(label.name);
      return false;
    }
    if (Clock::now() < no_save_before_ || !saving_.insert(label.name).second) return false;
    save.bytes = new_bytes();
  }
  std::memcpy(save.bytes.data(), bytes.data(), bytes.size());
  save.label = std::move(label);
  {
    const std::lock_guard lock(mutex_);
    to_save_.push_back(std::move(save));
  }
  has_work_.notify_one();
  return true;
}

/// The caller holds mutex_.
BlockSpill::Bytes BlockSpill::new_bytes() {
  if (spare_.empty()) return Bytes(options_.block_bytes);
  Bytes bytes = std::move(spare_.back());
  spare_.pop_back();
  return bytes;
}

BlockSpillCounters BlockSpill::counters() const {
  return {.n_saved = n_saved_.load(),
          .n_loaded = n_loaded_.load(),
          .n_refused = n_refused_.load(),
          .used_bytes = store_->used_bytes()};
}

// --- the spill's thread ----------------------------------------------------------------------------------------------

void BlockSpill::begin() {
  const Status begun = store_->begin(options_.fingerprint, options_.block_bytes);
  has_begun_ = static_cast<bool>(begun);
  if (!begun) {
    note_outage(begun.error(), no_save_before_);
    no_load_before_ = no_save_before_;
  }
}

/// Says so once, until something could be saved again.
void BlockSpill::note_outage(const Error& error, Clock::time_point& retry_at) {
  retry_at = Clock::now() + options_.rest;
  if (has_warned_) return;
  has_warned_ = true;
  log_.warn("the K/V cache on disk is passed over until it works again: ", error.message);
}

/// Calls the store without the lock, and lets ask() see for how long.
template <class Call>
Status BlockSpill::call(std::unique_lock<std::mutex>& lock, Call work) {
  calling_since_ = Clock::now();
  lock.unlock();
  Status status = work();
  lock.lock();
  calling_since_ = Clock::time_point::max();
  return status;
}

void BlockSpill::load_next(std::unique_lock<std::mutex>& lock) {
  const BlockLabel label = std::move(to_load_.front());
  to_load_.pop_front();
  Bytes bytes = new_bytes();
  Status loaded = unavailable("it rests");
  if (Clock::now() >= no_load_before_) {
    loaded = call(lock, [&] { return store_->load(label, bytes); });
    if (!loaded && loaded.error().code == Code::kDataLoss) {
      n_refused_.fetch_add(1);
    } else if (!loaded && loaded.error().code != Code::kNotFound) {
      note_outage(loaded.error(), no_load_before_);
    }
  }
  if (!loaded) {
    spare_.push_back(std::move(bytes));
    fetches_.erase(label.name);
    return;
  }
  n_loaded_.fetch_add(1);
  if (used_.size() < kMaxUsed) used_.push_back(label.name);
  fetches_[label.name] = {true, Clock::now(), std::move(bytes)};
}

void BlockSpill::save_next(std::unique_lock<std::mutex>& lock) {
  Save save = std::move(to_save_.front());
  to_save_.pop_front();
  if (Clock::now() >= no_save_before_) {
    const Status saved = call(lock, [&] { return store_->save(save.label, save.bytes); });
    if (!saved) {
      note_outage(saved.error(), no_save_before_);
    } else {
      n_saved_.fetch_add(1);
      if (std::exchange(has_warned_, false)) log_.info("the K/V cache on disk works again");
    }
  }
  saving_.erase(save.label.name);
  spare_.push_back(std::move(save.bytes));
  if (to_save_.size() != n_copies_ / 2 || !options_.on_room) return;
  lock.unlock();
  options_.on_room();
  lock.lock();
}

void BlockSpill::tend(std::unique_lock<std::mutex>& lock) {
  tend_at_ = Clock::now() + kTendInterval;
  spare_.clear();
  drop_stale();
  if (std::max(no_load_before_, no_save_before_) > Clock::now()) return;
  const std::vector<BlockName> used = std::exchange(used_, {});
  const Status tended = call(lock, [&]() -> Status {
    if (!has_begun_) DW_TRY(store_->begin(options_.fingerprint, options_.block_bytes));
    has_begun_ = true;
    return store_->tend(used);
  });
  if (tended) return;
  note_outage(tended.error(), no_save_before_);
  if (!has_begun_) no_load_before_ = no_save_before_;
}

void BlockSpill::thread_main() {
  std::unique_lock lock(mutex_);
  for (;;) {
    has_work_.wait_until(lock, tend_at_,
                         [this] { return is_stopping_ || !to_load_.empty() || !to_save_.empty(); });
    if (is_stopping_ && (to_save_.empty() || Clock::now() >= stop_by_)) break;
    if (Clock::now() >= tend_at_) {
      tend(lock);
    } else if (!to_load_.empty() && !is_stopping_) {
      load_next(lock);  // first: somebody waits for it
    } else if (!to_save_.empty()) {
      save_next(lock);
    }
  }
  if (Clock::now() < stop_by_) tend(lock);
}

}  // namespace deepwell::engine
