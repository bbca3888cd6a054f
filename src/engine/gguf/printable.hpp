// printable(): text of unknown origin, made safe to show in a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace deepwell::engine::gguf {

/// At most `max_bytes` of the text (cut at a UTF-8 boundary, marked with "..."), control characters
/// and invalid UTF-8 as \xNN.
std::string printable(std::string_view text, std::size_t max_bytes = 80);

}  // namespace deepwell::engine::gguf
