// The text of a cursor: `id:` of server-sent events, Last-Event-ID and ?starting_after.
// Spec: docs/api/streams.md
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "service/dialogue/answer.hpp"

namespace deepwell::edge {

/// "17", "17.4!", "-.-", "9!u": a part for each choice, then `u` if the usage chunk was sent.
std::string format_cursor(const service::Cursor& cursor);

/// Empty text is the cursor before everything. Errors: kInvalidArgument (not a cursor, or one of an
/// answer with another number of choices).
Result<service::Cursor> parse_cursor(std::string_view text, std::uint32_t n_choices);

}  // namespace deepwell::edge
