// The Store over SQLite: one file, one writer thread, every record that waits in one transaction.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/log.hpp"
#include "service/store/store.hpp"

namespace deepwell::service {

struct SqliteStoreOptions {
  std::string path;  // empty: in memory, gone with the process
  Durability durability = Durability::kProcess;
  std::chrono::milliseconds retention{3'600'000};
  std::uint64_t max_bytes = 256ULL * 1024 * 1024;
  /// Well again only when writing works and nothing failed for so long: on a disk that is nearly full
  /// a small record may still find room where the next one does not.
  std::chrono::milliseconds calm{3'000};
  std::function<std::int64_t()> now_ms;  // the wall clock; tests set their own
  /// Called on the store's thread with the seconds that a group of records took from its first
  /// call to its commit.
  std::function<void(double)> on_commit;
};

/// Never fails: a file that cannot be opened makes the store degraded until it can; one that is
/// corrupt or of a newer version is renamed aside, said in the log, and a new one is begun. `log`
/// must outlive the store.
std::unique_ptr<Store> open_sqlite_store(SqliteStoreOptions options, Log& log);

}  // namespace deepwell::service
