// HeldStore: a Store whose word can be held back, or made an error, for tests of who waits for it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "service/store/store.hpp"

namespace deepwell::service::testing {

class HeldStore final : public Store {
 public:
  explicit HeldStore(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  /// Admissions are written, but nobody is told until release().
  void hold_admissions() {
    const std::lock_guard lock(mutex_);
    is_holding_ = true;
  }
  void release() {
    std::vector<std::function<void()>> held;
    {
      const std::lock_guard lock(mutex_);
      is_holding_ = false;
      held.swap(held_);
    }
    for (const auto& tell : held) tell();
  }
  /// Nobody is found by a key: what somebody sees who looked a moment before it was written.
  void hide_keys(bool is_hiding) {
    const std::lock_guard lock(mutex_);
    is_hiding_keys_ = is_hiding;
  }
  /// So many ends fail as on a full disk.
  void fail_ends(int n) {
    const std::lock_guard lock(mutex_);
    n_failing_ends_ = n;
  }

  void admit(StreamRecord record, StoreDone<void> done) override {
    auto shared = std::make_shared<StoreDone<void>>(std::move(done));
    store_->admit(std::move(record), [this, shared](const Status& admitted) {
      {
        const std::lock_guard lock(mutex_);
        if (is_holding_) {
          held_.emplace_back([shared, admitted] { (*shared)(admitted); });
          return;
        }
      }
      (*shared)(admitted);
    });
  }
  void end(StreamEnd end, StoreDone<void> done) override {
    bool is_failing = false;
    {
      const std::lock_guard lock(mutex_);
      is_failing = n_failing_ends_ > 0;
      if (is_failing) --n_failing_ends_;
    }
    if (!is_failing) return store_->end(std::move(end), std::move(done));
    store_->find("none", [done = std::move(done)](const Result<StreamRecord>&) mutable {
      done(unavailable("disk full"));
    });
  }
  void find(std::string id, StoreDone<StreamRecord> done) override {
    store_->find(std::move(id), std::move(done));
  }
  void find_by_key(std::string tenant, std::string key, StoreDone<StreamRecord> done) override {
    {
      const std::lock_guard lock(mutex_);
      if (is_hiding_keys_) key = "hidden";
    }
    store_->find_by_key(std::move(tenant), std::move(key), std::move(done));
  }
  void claim(Claim claim, StoreDone<std::vector<StreamRecord>> done) override {
    store_->claim(std::move(claim), std::move(done));
  }
  void revive(std::string id, std::uint64_t epoch, std::string front, std::int64_t lease_until_ms,
              StoreDone<StreamRecord> done) override {
    store_->revive(std::move(id), epoch, std::move(front), lease_until_ms, std::move(done));
  }
  void renew(std::string front, std::int64_t lease_until_ms, StoreDone<void> done) override {
    store_->renew(std::move(front), lease_until_ms, std::move(done));
  }
  void sweep(StoreDone<void> done) override { store_->sweep(std::move(done)); }
  StoreHealth health() const override { return store_->health(); }

 private:
  std::mutex mutex_;
  bool is_holding_ = false;
  bool is_hiding_keys_ = false;
  int n_failing_ends_ = 0;
  std::vector<std::function<void()>> held_;
  std::unique_ptr<Store> store_;  // ends first: its last words come here
};

}  // namespace deepwell::service::testing
