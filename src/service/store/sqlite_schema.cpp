// Tables, versions, and files that are no journal.
#include "service/store/sqlite_schema.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>

#include "base/clock.hpp"
#include "base/concat.hpp"

namespace deepwell::service {

namespace {

constexpr std::int64_t kSchemaVersion = 1;

// What changes is apart from what is large: a lease moves without a prompt being written again.
constexpr const char* kSchema = R"sql(
CREATE TABLE streams (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  idempotency_key TEXT,
  state INTEGER NOT NULL,
  owner_front TEXT NOT NULL,
  lease_until_ms INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  ended_unix_ms INTEGER NOT NULL,
  n_bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX streams_by_key ON streams (tenant, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE INDEX streams_running ON streams (owner_front) WHERE state = 0;
CREATE INDEX streams_ended ON streams (ended_unix_ms) WHERE state <> 0;
CREATE TABLE payloads (
  seq INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  model TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  created_unix_s INTEGER NOT NULL,
  request_hash TEXT NOT NULL,
  prompt BLOB NOT NULL,
  plan TEXT NOT NULL,
  outcome TEXT NOT NULL
);
CREATE TABLE machine (boot TEXT NOT NULL, n_probes INTEGER NOT NULL);
INSERT INTO machine VALUES ('', 0);
PRAGMA user_version = 1;
)sql";

// Changes with each start of the machine.
std::string boot_id() {
  std::string id;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, id);
  return id;
}

Error corrupt(std::string message) {
  Error error = unavailable(std::move(message));
  error.reason = kReasonCorrupt;
  return error;
}

// Without fsync a power cut may tear the file. After one it is read through before it is trusted.
Status check_after_reboot(SqliteDb& db) {
  const std::string boot = boot_id();
  {
    auto row = db.query("SELECT boot FROM machine");
    DW_ASSIGN(const bool has_row, row.step());
    if (!has_row) return corrupt("journal: it lacks its own row");
    if (row.text(0) == boot) return {};
  }
  {
    auto check = db.query("PRAGMA quick_check(1)");
    DW_ASSIGN(const bool has_row, check.step());
    if (has_row && check.text(0) != "ok") return corrupt(concat("journal: ", check.text(0)));
  }
  auto update = db.query("UPDATE machine SET boot = ?");
  update.bind(boot);
  DW_ASSIGN(const bool ignored, update.step());
  (void)ignored;
  return {};
}

Status prepare(SqliteDb& db, Durability durability) {
  DW_TRY(db.run("PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 16777216"));
  DW_TRY(db.run(durability == Durability::kMachine ? "PRAGMA synchronous = FULL"
                                                   : "PRAGMA synchronous = OFF"));
  DW_TRY(db.run("PRAGMA secure_delete = ON"));  // what was deleted is gone, not only forgotten
  DW_TRY(db.run("BEGIN IMMEDIATE"));
  const auto version = db.integer("PRAGMA user_version");
  Status made;
  if (!version) {
    made = version.error();
  } else if (*version > kSchemaVersion) {
    made = corrupt(concat("journal: written by a newer version (schema ", *version,
                          ", this program knows ", kSchemaVersion, ")"));
  } else if (*version == 0) {
    const auto n_tables = db.integer("SELECT count(*) FROM sqlite_master");
    if (!n_tables) {
      made = n_tables.error();
    } else {
      made =
          *n_tables == 0 ? db.run(kSchema) : corrupt("journal: a database, but not this program's");
    }
  }
  if (made) made = check_after_reboot(db);
  if (made) made = db.run("COMMIT");
  if (!made && db.is_in_transaction()) static_cast<void>(db.run("ROLLBACK"));
  return made;
}

Result<std::unique_ptr<SqliteDb>> try_open(const std::string& path, Durability durability) {
  DW_ASSIGN(auto db, SqliteDb::open(path.empty() ? ":memory:" : path));
  // Prompts are private: nobody but the server's own user reads them.
  if (!path.empty()) ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
  DW_TRY(prepare(*db, durability));
  return db;
}

}  // namespace

Status set_aside(const std::string& path, std::string_view why, Log& log) {
  const std::string aside = concat(path, ".aside-", wall_clock_ms());
  if (std::rename(path.c_str(), aside.c_str()) != 0) {
    return unavailable(concat("journal ", path, " cannot be used (", why,
                              ") and not be renamed: ", std::generic_category().message(errno)));
  }
  for (const char* part : {"-wal", "-shm"}) {
    std::rename((path + part).c_str(), (aside + part).c_str());  // often there is none
  }
  log.error("the journal ", path, " cannot be used: ", why, "; it is now ", aside,
            ", and a new one is begun: answers that ran in it cannot go on");
  return {};
}

Result<std::unique_ptr<SqliteDb>> open_journal(const std::string& path, Durability durability,
                                               Log& log) {
  auto db = try_open(path, durability);
  if (db || db.error().reason != kReasonCorrupt || path.empty()) return db;
  DW_TRY(set_aside(path, db.error().message, log));
  return try_open(path, durability);
}

}  // namespace deepwell::service
