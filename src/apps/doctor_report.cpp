// Printing a report as text and as JSON.
#include "apps/doctor_report.hpp"

#include <algorithm>

#include "base/concat.hpp"
#include "base/utf8.hpp"

namespace deepwell::apps {

namespace {

/// A JSON string (RFC 8259 section 7); written here because engine-only builds have no JSON library.
std::string quoted(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : sanitized_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20) {
      out += concat("\\u00", kDigits[byte >> 4U], kDigits[byte & 15U]);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

std::string_view Report::level_name(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kWarn:
      return "warn";
    case Level::kFail:
      return "fail";
  }
  return "fail";
}

bool Report::has_failure() const {
  return std::any_of(lines_.begin(), lines_.end(),
                     [](const Line& line) { return line.level == Level::kFail; });
}

std::string Report::text() const {
  std::size_t n_subject = 0;
  for (const Line& line : lines_) n_subject = std::max(n_subject, line.subject.size());
  std::string out;
  for (const Line& line : lines_) {
    std::string level(level_name(line.level));
    level.resize(6, ' ');
    out += concat(level, line.subject, std::string(n_subject + 2 - line.subject.size(), ' '),
                  line.finding, "\n");
  }
  return out;
}

std::string Report::json() const {
  std::string out = "{\"checks\": [";
  for (const Line& line : lines_) {
    out += concat(&line == lines_.data() ? "\n" : ",\n", "  {\"subject\": ", quoted(line.subject),
                  ", \"level\": \"", level_name(line.level),
                  "\", \"finding\": ", quoted(line.finding), "}");
  }
  return out + concat("\n], \"is_healthy\": ", !has_failure(), "}\n");
}

}  // namespace deepwell::apps
