// The BlockStore over SQLite: one file for all models and processes of a home, sealed, with a budget.
// Format: docs/formats/kv-disk.md
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "engine/runtime/block_store.hpp"

namespace deepwell::service {

struct SqliteBlocksOptions {
  std::string directory;  // made if it is absent; the key and the database lie there
  std::uint64_t max_bytes = 0;
  std::uint64_t reserve_bytes = 1ULL << 30;  // of the disk that stay free for others
};

/// Nothing is touched before begin(). A file that is damaged, of another version or of another key is begun anew: what is
/// in it cannot be of use; one that is not ours is renamed aside. `log` must outlive the store.
std::shared_ptr<engine::BlockStore> open_sqlite_blocks(SqliteBlocksOptions options, Log& log);

struct BlockUse {
  std::uint64_t n_blocks = 0, n_bytes = 0;
};

/// What is kept in `directory`; of one tenant, if it is given. Nothing there is fine. Errors: kUnavailable, those of the
/// key file.
Result<BlockUse> look_at_blocks(const std::string& directory,
                                const std::optional<std::string>& tenant);
/// Deletes it, while servers run too, and says how much that was.
Result<BlockUse> clear_blocks(const std::string& directory,
                              const std::optional<std::string>& tenant);

}  // namespace deepwell::service
