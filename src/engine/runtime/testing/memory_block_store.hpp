// MemoryBlockStore: a BlockStore that tests can look into, slow down and break.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/runtime/block_store.hpp"

namespace deepwell::engine {

class MemoryBlockStore final : public BlockStore {
 public:
  struct Kept {
    BlockLabel label;
    std::vector<std::byte> bytes;
    bool is_damaged = false;
  };

  Status begin(const std::string& fingerprint, std::uint64_t block_bytes) override {
    if (is_broken) return unavailable("broken");
    const std::lock_guard lock(mutex_);
    fingerprint_ = fingerprint;
    block_bytes_ = block_bytes;
    return {};
  }
  bool has(const BlockName& name) const override {
    const std::lock_guard lock(mutex_);
    return blocks_.contains(name.bytes);
  }
  Status save(const BlockLabel& label, std::span<const std::byte> bytes) override {
    std::this_thread::sleep_for(pace.load());
    if (is_broken) return unavailable("broken");
    const std::lock_guard lock(mutex_);
    if (bytes.size() != block_bytes_) return unavailable("wrong size");
    blocks_[label.name.bytes] = {label, {bytes.begin(), bytes.end()}};
    return {};
  }
  Status load(const BlockLabel& label, std::span<std::byte> bytes) override {
    std::this_thread::sleep_for(pace.load());
    if (is_broken) return unavailable("broken");
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(label.name.bytes);
    if (found == blocks_.end()) return not_found("no such block");
    const Kept& kept = found->second;
    const bool is_right = !kept.is_damaged && kept.label.parent == label.parent &&
                          kept.label.ids == label.ids && kept.label.tenant == label.tenant;
    if (!is_right) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0x5A});
      blocks_.erase(found);
      return data_loss("not what was saved");
    }
    std::copy(kept.bytes.begin(), kept.bytes.end(), bytes.begin());
    return {};
  }
  Status tend(std::span<const BlockName> used) override {
    if (is_broken) return unavailable("broken");
    const std::lock_guard lock(mutex_);
    for (const BlockName& name : used) used_.push_back(name);
    return {};
  }
  std::uint64_t used_bytes() const override { return n_blocks() * block_bytes_; }

  std::size_t n_blocks() const {
    const std::lock_guard lock(mutex_);
    return blocks_.size();
  }
  std::size_t n_used() const {
    const std::lock_guard lock(mutex_);
    return used_.size();
  }
  std::string fingerprint() const {
    const std::lock_guard lock(mutex_);
    return fingerprint_;
  }
  template <class Change>
  void change_all(Change change) {
    const std::lock_guard lock(mutex_);
    for (auto& [name, kept] : blocks_) change(kept);
  }

  std::atomic<bool> is_broken{false};
  std::atomic<std::chrono::microseconds> pace{};  // of each block

 private:
  mutable std::mutex mutex_;
  std::map<std::array<std::uint8_t, 16>, Kept> blocks_;
  std::vector<BlockName> used_;
  std::string fingerprint_;
  std::uint64_t block_bytes_ = 0;
};

}  // namespace deepwell::engine
