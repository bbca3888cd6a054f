// BlockSpill: carries blocks between the arena and a BlockStore, on a thread of its own: no step waits for a disk.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/log.hpp"
#include "engine/runtime/block_store.hpp"

namespace deepwell::engine {

struct BlockSpillOptions {
  std::string fingerprint;  // of the model
  std::uint64_t block_bytes = 0;
  std::uint64_t max_copy_bytes = 16ULL << 20;  // of blocks on their way, each direction
  std::chrono::milliseconds patience{
      300};  // with a call of the store, before its blocks are computed instead
  std::chrono::milliseconds rest{5'000};      // after the store failed, until it is tried again
  std::chrono::milliseconds farewell{2'000};  // for what is still to be saved at the end
  // Called on the spill's thread, under no lock, when half of the copies that were to be saved are: whoever found
  // can_keep() false goes on then. Fewer calls than one for each block. May be null.
  std::function<void()> on_room;
};

enum class BlockNews : std::uint8_t { kAbsent, kComing, kHere };

struct BlockSpillCounters {
  std::uint64_t n_saved = 0, n_loaded = 0;
  std::uint64_t n_refused = 0;  // were not what had been saved
  std::uint64_t used_bytes = 0;
};

/// The engine's thread copies a block in or out, which takes as long as memory does; everything else happens on the
/// spill's thread. A store that fails or hangs costs what it would have saved, and one line in the log.
class BlockSpill {
 public:
  /// Owners of `store`: whoever opened it, and this. Begins with it before it returns.
  BlockSpill(std::shared_ptr<BlockStore> store, BlockSpillOptions options, Log& log);
  /// Saves what is on its way there, for as long as `farewell` allows.
  ~BlockSpill();
  BlockSpill(const BlockSpill&) = delete;
  BlockSpill& operator=(const BlockSpill&) = delete;

  // The engine's thread.

  /// Whether the store has a block. The first call starts reading; the answer kComing turns into one of the others in
  /// bounded time. Blocks that nobody takes for a second are dropped again.
  BlockNews ask(const BlockLabel& label);
  /// Copies a block that is kHere into `place`.
  void take(const BlockName& name, std::span<std::byte> place);

  /// Whether there is room for another copy.
  bool can_keep() const;
  /// Sees to it that the store keeps a block, or notes that it was of use if it is there. True if that took a copy of
  /// `bytes`. The caller has asked can_keep().
  bool keep(BlockLabel label, std::span<const std::byte> bytes);

  /// Blocks that fit into the copies of one direction.
  std::uint32_t n_copies() const { return n_copies_; }
  BlockSpillCounters counters() const;  // any thread

 private:
  using Clock = std::chrono::steady_clock;
  using Bytes = std::vector<std::byte>;
  struct Fetch {
    bool is_here = false;
    Clock::time_point here_since;
    Bytes bytes;
  };
  struct Save {
    BlockLabel label;
    Bytes bytes;
  };

  void thread_main();
  void begin();
  void load_next(std::unique_lock<std::mutex>& lock);
  void save_next(std::unique_lock<std::mutex>& lock);
  void tend(std::unique_lock<std::mutex>& lock);
  template <class Call>
  Status call(std::unique_lock<std::mutex>& lock, Call work);
  void note_outage(const Error& error, Clock::time_point& retry_at);
  bool is_stuck() const;
  void drop_stale();
  Bytes new_bytes();

  const std::shared_ptr<BlockStore> store_;
  const BlockSpillOptions options_;
  const std::uint32_t n_copies_;
  Log& log_;

  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  // All guarded by mutex_.
  std::unordered_map<BlockName, Fetch, BlockNameHash> fetches_;
  std::deque<BlockLabel> to_load_;
  std::deque<Save> to_save_;
  std::unordered_set<BlockName, BlockNameHash> saving_;  // names in it, and of the one being saved
  std::vector<BlockName> used_;
  std::vector<Bytes> spare_;  // memory of copies that went, for a second
  Clock::time_point no_load_before_, no_save_before_;
  Clock::time_point calling_since_ = Clock::time_point::max();  // of the store
  Clock::time_point tend_at_;
  Clock::time_point stop_by_;
  bool is_stopping_ = false;

  // The spill's thread alone.
  bool has_begun_ = false;
  bool has_warned_ = false;

  std::atomic<std::uint64_t> n_saved_{0}, n_loaded_{0}, n_refused_{0};
  std::thread thread_;  // last: it uses everything above
};

}  // namespace deepwell::engine
