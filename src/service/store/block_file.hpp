// BlockFile: the database of sealed blocks, as rows. Internal to store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/log.hpp"
#include "service/store/block_cipher.hpp"
#include "service/store/sqlite_db.hpp"

namespace deepwell::service {

struct BlockRow {
  BlockCipher::RowKey key, tenant;
  std::uint32_t depth = 0;  // its place in its sequence
  std::int64_t used_unix_ms = 0;
};

/// One connection, used by one thread. Errors of every call: kUnavailable; with kReasonCorrupt if the file is to blame.
class BlockFile {
 public:
  using SeenKey = std::function<void(const BlockCipher::RowKey&)>;

  /// Opens or begins the file. What cannot be used is discarded.
  static Result<std::unique_ptr<BlockFile>> open(const std::string& path,
                                                 const BlockCipher::RowKey& key_check, Log& log);

  /// Removes a file that cannot be used, or renames it aside if it is not ours; the log says so.
  static Status discard(const std::string& path, const std::string& why, Log& log);

  /// Saves a row unless it is there; deletes others, longest not used first, so that at most `max_bytes` are used.
  Status save(const BlockRow& row, std::span<const std::byte> sealed, std::uint64_t max_bytes,
              const SeenKey& on_deleted);
  /// Hands the row's bytes to `read`; false if it is not there.
  Result<bool> load(const BlockCipher::RowKey& key,
                    const std::function<void(std::span<const std::byte>)>& read);
  Status remove(const BlockCipher::RowKey& key);
  /// Notes the use of several rows; hands out those that are not there any more.
  Status touch(std::span<const BlockCipher::RowKey> keys, std::int64_t used_unix_ms,
               const SeenKey& on_absent);
  /// Hands out rows that came since the last call, from whomever.
  Status read_new_keys(const SeenKey& on_key);
  void forget_read_keys() { last_seq_ = 0; }
  /// Deletes at most `n_most` rows until at most `max_bytes` are used, and gives some of what the file does not need back
  /// to the disk.
  Status shrink(std::uint64_t max_bytes, int n_most, const SeenKey& on_deleted);
  /// Deletes all rows, or a tenant's.
  Status clear(const std::optional<BlockCipher::RowKey>& tenant);

  struct Use {
    std::uint64_t n_rows = 0, n_bytes = 0;  // of sealed blocks
  };
  Result<Use> use_of(const std::optional<BlockCipher::RowKey>& tenant);
  /// Of pages with content; the file may be larger.
  Result<std::uint64_t> used_bytes();

 private:
  explicit BlockFile(std::unique_ptr<SqliteDb> db) : db_(std::move(db)) {}
  static Result<std::unique_ptr<BlockFile>> try_open(const std::string& path,
                                                     const BlockCipher::RowKey& key_check);
  Status in_transaction(const std::function<Status()>& work);
  Result<bool> delete_oldest(const SeenKey& on_deleted);
  Status insert(const BlockRow& row, std::span<const std::byte> sealed);

  std::unique_ptr<SqliteDb> db_;
  std::int64_t last_seq_ = 0;  // that read_new_keys() has seen
};

}  // namespace deepwell::service
