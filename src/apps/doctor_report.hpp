// What `doctor` found, line by line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/command.hpp"

namespace deepwell::apps {

class Report {
 public:
  void ok(std::string_view subject, std::string_view finding) { add(Level::kOk, subject, finding); }
  void warn(std::string_view subject, std::string_view finding) {
    add(Level::kWarn, subject, finding);
  }
  void fail(std::string_view subject, std::string_view finding) {
    add(Level::kFail, subject, finding);
  }

  bool has_failure() const;
  /// One line each: "ok    memory   31.2 GiB, …".
  std::string text() const;
  /// {"checks": [{"subject", "level", "finding"}], "is_healthy": true}
  std::string json() const;

 private:
  enum class Level : std::uint8_t { kOk, kWarn, kFail };
  struct Line {
    Level level;
    std::string subject;
    std::string finding;
  };
  static std::string_view level_name(Level level);
  void add(Level level, std::string_view subject, std::string_view finding) {
    lines_.push_back({level, std::string(subject), std::string(finding)});
  }

  std::vector<Line> lines_;
};

/// The models of the store and whether they fit into memory; engine-only builds have no store and say so.
void check_models(const Context& context, Report& report);

}  // namespace deepwell::apps
