// Schema, versions and statements of the file of sealed blocks.
#include "service/store/block_file.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <utility>
#include <vector>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::service {

namespace {

constexpr std::int64_t kSchemaVersion = 1;
constexpr std::uint32_t kApplicationId = 0x44574B56;  // "DWKV"
constexpr std::size_t kApplicationIdAt = 68;  // in the file (SQLite file format, 1.3), big-endian

// What changes is apart from what is large. A page is a small part of a block and a large part of a row.
constexpr const char* kSchema = R"sql(
CREATE TABLE blocks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  key BLOB NOT NULL UNIQUE,
  tenant BLOB NOT NULL,
  depth INTEGER NOT NULL,
  used_unix_ms INTEGER NOT NULL,
  n_bytes INTEGER NOT NULL
);
CREATE INDEX blocks_by_use ON blocks (used_unix_ms, depth DESC);
CREATE INDEX blocks_by_tenant ON blocks (tenant);
CREATE TABLE payloads (seq INTEGER PRIMARY KEY, sealed BLOB NOT NULL);
CREATE TABLE secret (key_check BLOB NOT NULL);
PRAGMA application_id = 1146571606;
PRAGMA user_version = 1;
)sql";
static_assert(kApplicationId == 1146571606);

Error unusable(std::string message) {
  Error error = unavailable(std::move(message));
  error.reason = kReasonCorrupt;
  return error;
}

BlockCipher::RowKey row_key_of(std::span<const std::byte> bytes) {
  BlockCipher::RowKey key{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), key.size()), key.begin());
  return key;
}

/// The last step of a statement whose rows, if it has any, do not matter.
Status finish(SqliteDb::Query& query) {
  for (;;) {
    DW_ASSIGN(const bool has_row, query.step());
    if (!has_row) return {};
  }
}

/// In a transaction: makes the tables, or judges those that are there.
Status prepare(SqliteDb& db, const BlockCipher::RowKey& key_check) {
  DW_ASSIGN(const std::int64_t version, db.integer("PRAGMA user_version"));
  DW_ASSIGN(const std::int64_t n_tables, db.integer("SELECT count(*) FROM sqlite_master"));
  if (version == 0 && n_tables == 0) {
    DW_TRY(db.run(kSchema));
    auto insert = db.query("INSERT INTO secret VALUES (?)");
    return finish(insert.bind_blob(key_check));
  }
  DW_ASSIGN(const std::int64_t application, db.integer("PRAGMA application_id"));
  if (application != kApplicationId) return unusable("it is another program's database");
  if (version != kSchemaVersion) {
    return unusable(concat("it has version ", version, ", this program knows ", kSchemaVersion));
  }
  auto row = db.query("SELECT key_check FROM secret");
  DW_ASSIGN(const bool has_row, row.step());
  if (!has_row || row_key_of(row.blob(0)) != key_check)
    return unusable("it was made with another key");
  return {};
}

/// Ours may be removed: it is a cache.
bool is_ours(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, 16> magic{};
  std::array<unsigned char, 4> id{};
  file.read(magic.data(), magic.size());
  file.seekg(kApplicationIdAt);
  file.read(reinterpret_cast<char*>(id.data()), id.size());
  const std::uint32_t found =
      std::uint32_t{id[0]} << 24 | std::uint32_t{id[1]} << 16 | std::uint32_t{id[2]} << 8 | id[3];
  return file && std::string_view(magic.data(), 15) == "SQLite format 3" && found == kApplicationId;
}

}  // namespace

Result<std::unique_ptr<BlockFile>> BlockFile::try_open(const std::string& path,
                                                       const BlockCipher::RowKey& key_check) {
  DW_ASSIGN(auto db, SqliteDb::open(path, "K/V cache on disk"));
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
  // No syncing: a block is used only if its seal is right, so a power cut costs blocks and nothing else.
  DW_TRY(
      db->run("PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL;"
              "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
              "PRAGMA wal_autocheckpoint = 512; PRAGMA journal_size_limit = 16777216"));
  std::unique_ptr<BlockFile> file(new BlockFile(std::move(db)));
  DW_TRY(file->in_transaction([&] { return prepare(*file->db_, key_check); }));
  return file;
}

Result<std::unique_ptr<BlockFile>> BlockFile::open(const std::string& path,
                                                   const BlockCipher::RowKey& key_check, Log& log) {
  auto file = try_open(path, key_check);
  if (file || file.error().reason != kReasonCorrupt) return file;
  DW_TRY(discard(path, file.error().message, log));
  return try_open(path, key_check);
}

Status BlockFile::discard(const std::string& path, const std::string& why, Log& log) {
  if (is_ours(path)) {
    log.warn("the K/V cache on disk, ", path, ", cannot be used: ", why, "; it is begun anew");
    for (const char* part : {"", "-wal", "-shm"}) DW_TRY(remove_file(path + part));
    return {};
  }
  const std::string aside = path + ".aside";
  log.warn(path, " cannot be used as K/V cache: ", why, "; it is now ", aside);
  DW_TRY(rename_file(path, aside));
  for (const char* part : {"-wal", "-shm"}) DW_TRY(remove_file(path + part));
  return {};
}

Status BlockFile::in_transaction(const std::function<Status()>& work) {
  DW_TRY(db_->run("BEGIN IMMEDIATE"));
  Status done = work();
  if (done) done = db_->run("COMMIT");
  if (!done && db_->is_in_transaction()) static_cast<void>(db_->run("ROLLBACK"));
  return done;
}

Result<std::uint64_t> BlockFile::used_bytes() {
  DW_ASSIGN(const std::int64_t page_bytes, db_->integer("PRAGMA page_size"));
  DW_ASSIGN(const std::int64_t n_pages, db_->integer("PRAGMA page_count"));
  DW_ASSIGN(const std::int64_t n_free, db_->integer("PRAGMA freelist_count"));
  return static_cast<std::uint64_t>((n_pages - n_free) * page_bytes);
}

/// Of equally old ones the deepest first: the end of a sequence is of no use without its beginning.
Result<bool> BlockFile::delete_oldest(const SeenKey& on_deleted) {
  std::int64_t seq = 0;
  {
    auto oldest =
        db_->query("SELECT seq, key FROM blocks ORDER BY used_unix_ms, depth DESC LIMIT 1");
    DW_ASSIGN(const bool has_row, oldest.step());
    if (!has_row) return false;
    seq = oldest.integer(0);
    on_deleted(row_key_of(oldest.blob(1)));
  }
  auto payload = db_->query("DELETE FROM payloads WHERE seq = ?");
  DW_TRY(finish(payload.bind(seq)));
  auto block = db_->query("DELETE FROM blocks WHERE seq = ?");
  DW_TRY(finish(block.bind(seq)));
  return true;
}

Status BlockFile::insert(const BlockRow& row, std::span<const std::byte> sealed) {
  {
    auto block = db_->query(
        "INSERT INTO blocks (key, tenant, depth, used_unix_ms, n_bytes) VALUES (?, ?, ?, ?, ?)");
    block.bind_blob(row.key).bind_blob(row.tenant).bind(std::int64_t{row.depth});
    block.bind(row.used_unix_ms).bind(static_cast<std::int64_t>(sealed.size()));
    DW_TRY(finish(block));
  }
  auto payload = db_->query("INSERT INTO payloads VALUES (?, ?)");
  return finish(payload.bind(db_->last_row()).bind_blob(sealed));
}

Status BlockFile::save(const BlockRow& row, std::span<const std::byte> sealed,
                       std::uint64_t max_bytes, const SeenKey& on_deleted) {
  return in_transaction([&]() -> Status {
    {
      auto known = db_->query("SELECT 1 FROM blocks WHERE key = ?");
      known.bind_blob(row.key);
      DW_ASSIGN(const bool is_known, known.step());
      if (is_known) return {};
    }
    for (;;) {
      DW_ASSIGN(const std::uint64_t n_used, used_bytes());
      if (n_used + sealed.size() <= max_bytes) break;
      DW_ASSIGN(const bool is_deleted, delete_oldest(on_deleted));
      if (is_deleted) continue;
      return unavailable(concat("K/V cache on disk: no room for a block of ", sealed.size(),
                                " bytes; allow more than ", max_bytes,
                                " bytes, or free some of the disk"));
    }
    return insert(row, sealed);
  });
}

Result<bool> BlockFile::load(const BlockCipher::RowKey& key,
                             const std::function<void(std::span<const std::byte>)>& read) {
  auto row = db_->query(
      "SELECT p.sealed FROM blocks AS b JOIN payloads AS p ON p.seq = b.seq WHERE b.key = ?");
  row.bind_blob(key);
  DW_ASSIGN(const bool has_row, row.step());
  if (has_row) read(row.blob(0));
  return has_row;
}

Status BlockFile::remove(const BlockCipher::RowKey& key) {
  return in_transaction([&]() -> Status {
    auto payload =
        db_->query("DELETE FROM payloads WHERE seq = (SELECT seq FROM blocks WHERE key = ?)");
    DW_TRY(finish(payload.bind_blob(key)));
    auto block = db_->query("DELETE FROM blocks WHERE key = ?");
    return finish(block.bind_blob(key));
  });
}

Status BlockFile::touch(std::span<const BlockCipher::RowKey> keys, std::int64_t used_unix_ms,
                        const SeenKey& on_absent) {
  return in_transaction([&]() -> Status {
    for (const BlockCipher::RowKey& key : keys) {
      auto update = db_->query("UPDATE blocks SET used_unix_ms = ? WHERE key = ?");
      DW_TRY(finish(update.bind(used_unix_ms).bind_blob(key)));
      if (db_->n_changed() == 0) on_absent(key);
    }
    return {};
  });
}

Status BlockFile::read_new_keys(const SeenKey& on_key) {
  auto rows = db_->query("SELECT seq, key FROM blocks WHERE seq > ?");
  rows.bind(last_seq_);
  for (;;) {
    DW_ASSIGN(const bool has_row, rows.step());
    if (!has_row) return {};
    last_seq_ = std::max(last_seq_, rows.integer(0));
    on_key(row_key_of(rows.blob(1)));
  }
}

Status BlockFile::shrink(std::uint64_t max_bytes, int n_most, const SeenKey& on_deleted) {
  DW_TRY(in_transaction([&]() -> Status {
    for (int n_deleted = 0; n_deleted < n_most; ++n_deleted) {
      DW_ASSIGN(const std::uint64_t n_used, used_bytes());
      if (n_used <= max_bytes) break;
      DW_ASSIGN(const bool is_deleted, delete_oldest(on_deleted));
      if (!is_deleted) break;
    }
    return {};
  }));
  auto vacuum = db_->query("PRAGMA incremental_vacuum(1024)");
  return finish(vacuum);
}

Status BlockFile::clear(const std::optional<BlockCipher::RowKey>& tenant) {
  const Status cleared = in_transaction([&]() -> Status {
    if (!tenant) return db_->run("DELETE FROM payloads; DELETE FROM blocks");
    auto payloads =
        db_->query("DELETE FROM payloads WHERE seq IN (SELECT seq FROM blocks WHERE tenant = ?)");
    DW_TRY(finish(payloads.bind_blob(*tenant)));
    auto blocks = db_->query("DELETE FROM blocks WHERE tenant = ?");
    return finish(blocks.bind_blob(*tenant));
  });
  if (!cleared) return cleared;
  return db_->run("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)");
}

Result<BlockFile::Use> BlockFile::use_of(const std::optional<BlockCipher::RowKey>& tenant) {
  auto row = tenant ? db_->query("SELECT count(*), sum(n_bytes) FROM blocks WHERE tenant = ?")
                    : db_->query("SELECT count(*), sum(n_bytes) FROM blocks");
  if (tenant) row.bind_blob(*tenant);
  DW_ASSIGN(const bool has_row, row.step());
  if (!has_row) return Use{};
  return Use{static_cast<std::uint64_t>(row.integer(0)),
             static_cast<std::uint64_t>(row.integer(1))};
}

}  // namespace deepwell::service
