// SqliteDb: one connection to a SQLite database, with prepared statements kept. Internal to store.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace deepwell::service {

/// Not thread-safe.
class SqliteDb {
 public:
  /// One execution of a statement. Parameters and columns count from 0. An error stays: step() gives
  /// it, whatever failed before.
  class Query {
   public:
    Query(sqlite3_stmt* statement, const std::string& what) : statement_(statement), what_(what) {}
    ~Query();
    Query(const Query&) = delete;
    Query& operator=(const Query&) = delete;

    // Text and blobs must live until the query has ended.
    Query& bind(std::int64_t value);
    Query& bind(std::string_view text);
    Query& bind_blob(std::span<const std::byte> bytes);
    Query& bind_null();

    /// True: there is a row to read. False: the end.
    Result<bool> step();

    std::int64_t integer(int column) const;
    std::string text(int column) const;
    std::span<const std::byte> blob(int column) const;  // until the next step()

   private:
    sqlite3_stmt* const statement_;
    const std::string& what_;  // of the database
    int n_bound_ = 0;
    int failure_ = 0;  // of a bind
  };

  SqliteDb() = default;
  ~SqliteDb();
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;

  /// `what` it is, for messages. Errors: kUnavailable.
  static Result<std::unique_ptr<SqliteDb>> open(const std::string& path,
                                                std::string what = "journal");

  /// Statements without parameters and without rows that matter.
  Status run(const char* sql);
  /// `sql` must be a literal: it is prepared once and kept by its address. Errors at step().
  Query query(const char* sql);
  /// The first column of the first row; 0 if there is none.
  Result<std::int64_t> integer(const char* sql);

  std::int64_t last_row() const;
  int n_changed() const;
  bool is_in_transaction() const;

 private:
  sqlite3* handle_ = nullptr;
  std::string what_;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
};

/// `reason` of errors that a database file can be blamed for: it cannot be read as one.
inline constexpr std::string_view kReasonCorrupt = "corrupt";
/// `reason` of a row that breaks a unique index.
inline constexpr std::string_view kReasonNotUnique = "not_unique";

}  // namespace deepwell::service
