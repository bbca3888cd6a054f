// Opening, preparing, stepping; SQLite's codes as errors.
#include "service/store/sqlite_db.hpp"

#include <sqlite3.h>

#include <utility>

#include "base/concat.hpp"

namespace deepwell::service {

namespace {

// How long a statement waits for another process that writes.
constexpr int kBusyTimeoutMs = 5000;

Error error_of(const std::string& what, sqlite3* handle, int code) {
  Error error = unavailable(
      concat(what, ": ", handle == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle)));
  switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      error.reason = kReasonCorrupt;
      break;
    case SQLITE_CONSTRAINT:
      error.code = Code::kAlreadyExists;
      error.reason = kReasonNotUnique;
      break;
    default:
      break;
  }
  return error;
}

}  // namespace

SqliteDb::Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteDb::Query& SqliteDb::Query::bind(std::int64_t value) {
  if (statement_ != nullptr) failure_ |= sqlite3_bind_int64(statement_, ++n_bound_, value);
  return *this;
}

SqliteDb::Query& SqliteDb::Query::bind(std::string_view text) {
  if (statement_ != nullptr) {
    failure_ |=
        sqlite3_bind_text64(statement_, ++n_bound_, text.data() == nullptr ? "" : text.data(),
                            text.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  return *this;
}

SqliteDb::Query& SqliteDb::Query::bind_blob(std::span<const std::byte> bytes) {
  if (statement_ != nullptr) {
    failure_ |= sqlite3_bind_blob64(statement_, ++n_bound_,
                                    bytes.empty() ? "" : static_cast<const void*>(bytes.data()),
                                    bytes.size(), SQLITE_STATIC);
  }
  return *this;
}

SqliteDb::Query& SqliteDb::Query::bind_null() {
  if (statement_ != nullptr) failure_ |= sqlite3_bind_null(statement_, ++n_bound_);
  return *this;
}

Result<bool> SqliteDb::Query::step() {
  if (statement_ == nullptr)
    return unavailable(concat(what_, ": a statement could not be prepared"));
  sqlite3* const handle = sqlite3_db_handle(statement_);
  if (failure_ != SQLITE_OK) return error_of(what_, handle, failure_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return error_of(what_, handle, code);
}

std::int64_t SqliteDb::Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string SqliteDb::Query::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (data == nullptr) return {};
  return std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::span<const std::byte> SqliteDb::Query::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

SqliteDb::~SqliteDb() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::open(const std::string& path, std::string what) {
  auto db = std::make_unique<SqliteDb>();
  db->what_ = std::move(what);
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &db->handle_, kFlags, nullptr);
  if (code != SQLITE_OK) {
    Error error = error_of(db->what_, db->handle_, code);
    error.message += concat(" (", path, ")");
    return error;
  }
  sqlite3_busy_timeout(db->handle_, kBusyTimeoutMs);
  return db;
}

Status SqliteDb::run(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error_of(what_, handle_, code);
  return {};
}

SqliteDb::Query SqliteDb::query(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr) {
    sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  }
  return Query(statement, what_);
}

Result<std::int64_t> SqliteDb::integer(const char* sql) {
  Query row = query(sql);
  DW_ASSIGN(const bool has_row, row.step());
  return has_row ? row.integer(0) : 0;
}

std::int64_t SqliteDb::last_row() const { return sqlite3_last_insert_rowid(handle_); }
int SqliteDb::n_changed() const { return sqlite3_changes(handle_); }
bool SqliteDb::is_in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

}  // namespace deepwell::service
