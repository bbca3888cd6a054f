// The log of the full program: spdlog, to stderr, coloured on a terminal.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "apps/common_options.hpp"

namespace deepwell::apps {
namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

class SpdlogLog final : public Log {
 public:
  explicit SpdlogLog(LogLevel level)
      : logger_("deepwell", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()) {
    logger_.set_level(level_of(level));
    logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
  }

  void write(LogLevel level, std::string_view line) override {
    logger_.log(level_of(level), spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  spdlog::logger logger_;
};

}  // namespace

std::unique_ptr<Log> make_log(LogLevel level) { return std::make_unique<SpdlogLog>(level); }

}  // namespace deepwell::apps
