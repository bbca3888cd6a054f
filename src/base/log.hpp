// The log interface: base and engine write to a sink that the application hands in.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/concat.hpp"

namespace deepwell {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };

/// Where log lines go. Thread-safe. Implemented over spdlog in apps; a test may hand in its own.
class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view line) = 0;

  template <class... Parts>
  void info(const Parts&... parts) {
    write(LogLevel::kInfo, concat(parts...));
  }
  template <class... Parts>
  void warn(const Parts&... parts) {
    write(LogLevel::kWarn, concat(parts...));
  }
  template <class... Parts>
  void error(const Parts&... parts) {
    write(LogLevel::kError, concat(parts...));
  }
  template <class... Parts>
  void debug(const Parts&... parts) {
    write(LogLevel::kDebug, concat(parts...));
  }
};

/// A log that drops every line.
Log& null_log();

}  // namespace deepwell
