// The log of engine-only builds: plain lines to stderr.
#include <cstdio>

#include "apps/common_options.hpp"
#include "base/clock.hpp"

namespace deepwell::apps {
namespace {

class StderrLog final : public Log {
 public:
  explicit StderrLog(LogLevel level) : level_(level) {}

  void write(LogLevel level, std::string_view line) override {
    if (level < level_) return;
    constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};
    // One call, so that lines of several threads do not mix (POSIX locks the stream per call).
    const std::string text = concat(format_utc(wall_clock_s()), " ",
                                    kNames[static_cast<std::size_t>(level)], " ", line, "\n");
    std::fwrite(text.data(), 1, text.size(), stderr);
  }

 private:
  LogLevel level_;
};

}  // namespace

std::unique_ptr<Log> make_log(LogLevel level) { return std::make_unique<StderrLog>(level); }

}  // namespace deepwell::apps
