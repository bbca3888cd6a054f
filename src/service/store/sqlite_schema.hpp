// The journal's tables: making them, and judging a file that is there. Internal to store.
#pragma once

#include <memory>
#include <string>

#include "base/log.hpp"
#include "service/store/sqlite_db.hpp"
#include "service/store/store.hpp"

namespace deepwell::service {

/// Opens the journal, or begins one; see open_sqlite_store() for what it does with a bad file.
/// Errors: kUnavailable.
Result<std::unique_ptr<SqliteDb>> open_journal(const std::string& path, Durability durability,
                                               Log& log);

/// Moves a file that cannot be used out of the way, with what belongs to it. Error: kUnavailable.
Status set_aside(const std::string& path, std::string_view why, Log& log);

}  // namespace deepwell::service
