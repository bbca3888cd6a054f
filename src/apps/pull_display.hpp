// PullDisplay: what a pull shows: status lines and a bar on a terminal, plain lines elsewhere, NDJSON with --json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "service/models/pull.hpp"

namespace deepwell::apps {

/// Writes to stderr (NDJSON: to stdout). Used on one thread.
class PullDisplay {
 public:
  explicit PullDisplay(bool is_json);
  ~PullDisplay() { end_bar(); }
  PullDisplay(const PullDisplay&) = delete;
  PullDisplay& operator=(const PullDisplay&) = delete;

  /// Binds the callbacks of a pull to this object, which must outlive it.
  void connect(service::PullOptions& options);
  void say(std::string_view line);
  void show(std::string_view label, std::uint64_t n_done, std::uint64_t n_total);

 private:
  void draw(std::uint64_t n_done, std::uint64_t n_total, std::int64_t now_ms);
  void end_bar();

  bool is_json_;
  bool is_terminal_;
  bool is_bar_open_ = false;
  std::string label_;            // of the bar
  std::int64_t started_ms_ = 0;  // of the label
  std::int64_t drawn_ms_ = 0;
  std::uint64_t n_first_ = 0;  // where the label began: a continued download is not that fast
  std::uint64_t n_last_ = 0;
  std::uint64_t n_total_ = 0;
  std::uint64_t decile_ = 0;  // plain lines: one each ten per cent
};

}  // namespace deepwell::apps
