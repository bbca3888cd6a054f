// Names, seals and the budget, between the engine's spill and the file.
#include "service/store/sqlite_blocks.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "service/store/block_cipher.hpp"
#include "service/store/block_file.hpp"

namespace deepwell::service {

namespace {

using engine::BlockLabel;
using engine::BlockName;
using RowKey = BlockCipher::RowKey;

constexpr int kMostDeletions = 64;            // in one call of tend(): others wait for the disk too
constexpr std::size_t kIndexSlack = 1 << 14;  // keys that others may have deleted

std::string key_path(const std::string& directory) { return join_path(directory, "key"); }
std::string file_path(const std::string& directory) { return join_path(directory, "blocks.db"); }

std::uint64_t word_of(const RowKey& key) {
  std::uint64_t word = 0;
  std::memcpy(&word, key.data(), sizeof word);
  return word;
}

class SqliteBlocks final : public engine::BlockStore {
 public:
  SqliteBlocks(SqliteBlocksOptions options, Log& log) : options_(std::move(options)), log_(log) {}

  Status begin(const std::string& fingerprint, std::uint64_t) override {
    if (cipher_ == nullptr) {
      DW_TRY(make_directories(options_.directory, 0700));
      DW_ASSIGN(const BlockSecret secret, load_or_make_block_secret(key_path(options_.directory)));
      DW_ASSIGN(cipher_, BlockCipher::create(secret, fingerprint));
    }
    DW_TRY(reopen());
    has_begun_.store(true, std::memory_order_release);
    return {};
  }

  bool has(const BlockName& name) const override {
    if (!has_begun_.load(std::memory_order_acquire)) return false;
    const std::uint64_t word = word_of(cipher_->row_key(name));
    const std::lock_guard lock(mutex_);
    return index_.contains(word);
  }

  Status save(const BlockLabel& label, std::span<const std::byte> bytes) override {
    DW_TRY(cipher_->seal(label, bytes, sealed_));
    const BlockRow row{.key = cipher_->row_key(label.name),
                       .tenant = cipher_->tenant_key(label.tenant),
                       .depth = label.index,
                       .used_unix_ms = wall_clock_ms()};
    DW_TRY(with_file([&] { return file_->save(row, sealed_, limit_bytes_, forget_key()); }));
    index(row.key);
    return note_use();
  }

  Status load(const BlockLabel& label, std::span<std::byte> bytes) override {
    const RowKey key = cipher_->row_key(label.name);
    bool is_there = false;
    Status opened;
    const Status read = with_file([&]() -> Status {
      DW_ASSIGN(is_there, file_->load(key, [&](std::span<const std::byte> sealed) {
        opened = cipher_->open(label, sealed, bytes);
      }));
      return {};
    });
    if (!read) return read;
    if (is_there && opened) return {};
    forget_key()(key);
    if (!is_there) return not_found("the block was deleted meanwhile");
    DW_TRY(with_file([&] { return file_->remove(key); }));
    return opened;
  }

  Status tend(std::span<const BlockName> used) override {
    std::vector<RowKey> keys;
    for (const BlockName& name : used) keys.push_back(cipher_->row_key(name));
    return with_file([&]() -> Status {
      if (!keys.empty()) DW_TRY(file_->touch(keys, wall_clock_ms(), forget_key()));
      DW_TRY(set_limit());
      if (used_bytes() > limit_bytes_) {
        DW_TRY(file_->shrink(limit_bytes_, kMostDeletions, forget_key()));
        DW_TRY(note_use());
      }
      return read_keys();
    });
  }

  std::uint64_t used_bytes() const override { return used_bytes_.load(); }

 private:
  Status reopen() {
    DW_ASSIGN(file_, BlockFile::open(file_path(options_.directory), cipher_->key_check(), log_));
    {
      const std::lock_guard lock(mutex_);
      index_.clear();
    }
    n_indexed_ = 0;
    DW_TRY(set_limit());
    return read_keys();
  }

  /// A file that turns out to be damaged is given up, and the next call begins another. Error: kDataLoss.
  template <class Work>
  Status with_file(Work work) {
    if (file_ == nullptr) DW_TRY(reopen());
    Status done = work();
    if (done || done.error().reason != kReasonCorrupt) return done;
    log_.warn(done.error().message);
    file_.reset();
    DW_TRY(BlockFile::discard(file_path(options_.directory), done.error().message, log_));
    return data_loss(done.error().message);
  }

  /// What others and the disk leave to us.
  Status set_limit() {
    DW_TRY(note_use());
    DW_ASSIGN(const std::uint64_t n_free, free_disk_bytes(options_.directory));
    const std::uint64_t n_all = used_bytes() + n_free;
    limit_bytes_ = std::min(options_.max_bytes, n_all - std::min(n_all, options_.reserve_bytes));
    return {};
  }

  Status note_use() {
    DW_ASSIGN(const std::uint64_t n_used, file_->used_bytes());
    used_bytes_.store(n_used);
    return {};
  }

  /// Of other processes too. What they deleted is noticed when it is asked for, and now and then by reading all anew.
  Status read_keys() {
    const bool is_anew = n_keys() > 2 * n_indexed_ + kIndexSlack;
    if (is_anew) file_->forget_read_keys();
    std::vector<std::uint64_t> words;
    DW_TRY(file_->read_new_keys([&](const RowKey& key) { words.push_back(word_of(key)); }));
    const std::lock_guard lock(mutex_);
    if (is_anew) index_.clear();
    index_.insert(words.begin(), words.end());
    if (is_anew || n_indexed_ == 0) n_indexed_ = index_.size();
    return {};
  }

  std::size_t n_keys() const {
    const std::lock_guard lock(mutex_);
    return index_.size();
  }
  void index(const RowKey& key) {
    const std::lock_guard lock(mutex_);
    index_.insert(word_of(key));
  }
  BlockFile::SeenKey forget_key() {
    return [this](const RowKey& key) {
      const std::lock_guard lock(mutex_);
      index_.erase(word_of(key));
    };
  }

  const SqliteBlocksOptions options_;
  Log& log_;
  std::unique_ptr<BlockCipher> cipher_;  // does not change after has_begun_
  std::atomic<bool> has_begun_{false};
  std::unique_ptr<BlockFile> file_;  // null: to be opened
  std::vector<std::byte> sealed_;
  std::uint64_t limit_bytes_ = 0;
  std::size_t n_indexed_ = 0;  // when all keys were read the last time
  std::atomic<std::uint64_t> used_bytes_{0};

  mutable std::mutex mutex_;
  std::unordered_set<std::uint64_t> index_;  // guarded by mutex_; the first words of keys
};

}  // namespace

std::shared_ptr<engine::BlockStore> open_sqlite_blocks(SqliteBlocksOptions options, Log& log) {
  return std::make_shared<SqliteBlocks>(std::move(options), log);
}

namespace {

/// Opens what is kept in `directory`, if anything is, and lets `work` see it and the row key of the tenant.
template <class Work>
Result<BlockUse> with_blocks(const std::string& directory, const std::optional<std::string>& tenant,
                             Work work) {
  if (!is_file(file_path(directory))) return BlockUse();
  DW_ASSIGN(const BlockSecret secret, load_or_make_block_secret(key_path(directory)));
  DW_ASSIGN(const auto cipher, BlockCipher::create(secret, ""));
  DW_ASSIGN(const auto file,
            BlockFile::open(file_path(directory), cipher->key_check(), null_log()));
  std::optional<RowKey> key;
  if (tenant) key = cipher->tenant_key(*tenant);
  DW_ASSIGN(const BlockFile::Use use, file->use_of(key));
  DW_TRY(work(*file, key));
  return BlockUse{use.n_rows, use.n_bytes};
}

}  // namespace

Result<BlockUse> look_at_blocks(const std::string& directory,
                                const std::optional<std::string>& tenant) {
  return with_blocks(directory, tenant,
                     [](BlockFile&, const std::optional<RowKey>&) { return Status(); });
}

Result<BlockUse> clear_blocks(const std::string& directory,
                              const std::optional<std::string>& tenant) {
  return with_blocks(directory, tenant, [](BlockFile& file, const std::optional<RowKey>& key) {
    return file.clear(key);
  });
}

}  // namespace deepwell::service
