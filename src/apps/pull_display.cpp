// Bars and lines of a pull.
#include "apps/pull_display.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/command.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/utf8.hpp"

namespace deepwell::apps {

namespace {

constexpr std::int64_t kRedrawMs = 100;

std::size_t terminal_columns() {
  winsize size{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_known ? size.ws_col : 80;
}

void write_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

PullDisplay::PullDisplay(bool is_json)
    : is_json_(is_json), is_terminal_(::isatty(STDERR_FILENO) != 0) {}

void PullDisplay::connect(service::PullOptions& options) {
  options.say = [this](std::string_view line) { say(line); };
  options.progress = [this](std::string_view label, std::uint64_t n_done, std::uint64_t n_total) {
    show(label, n_done, n_total);
  };
}

void PullDisplay::say(std::string_view line) {
  end_bar();
  if (is_json_) {
    (void)print_line(nlohmann::json{{"status", sanitized_utf8(line)}}.dump());
  } else {
    write_stderr(concat(line, "\n"));
  }
}

void PullDisplay::show(std::string_view label, std::uint64_t n_done, std::uint64_t n_total) {
  const std::int64_t now_ms = monotonic_ms();
  if (label != label_) {
    end_bar();
    label_ = label;
    started_ms_ = now_ms;
    drawn_ms_ = now_ms - kRedrawMs;
    n_first_ = n_done;
    decile_ = 0;
  }
  n_last_ = n_done;
  n_total_ = n_total;
  const bool is_due = now_ms - drawn_ms_ >= kRedrawMs || (n_total > 0 && n_done == n_total);
  if (!is_due) return;
  drawn_ms_ = now_ms;
  if (is_json_) {
    const nlohmann::json line = {{"status", label_}, {"total", n_total}, {"completed", n_done}};
    (void)print_line(line.dump());
  } else if (is_terminal_) {
    draw(n_done, n_total, now_ms);
  } else if (n_total > 0 && n_done * 10 / n_total > decile_) {
    decile_ = n_done * 10 / n_total;
    write_stderr(concat(label_, ": ", decile_ * 10, "% of ", format_bytes(n_total), "\n"));
  }
}

void PullDisplay::draw(std::uint64_t n_done, std::uint64_t n_total, std::int64_t now_ms) {
  const double seconds =
      static_cast<double>(std::max<std::int64_t>(1, now_ms - started_ms_)) / 1000.0;
  const double rate = static_cast<double>(n_done - std::min(n_done, n_first_)) / seconds;
  std::string tail = concat(" ", format_bytes(n_done));
  if (n_total > 0) tail += concat("/", format_bytes(n_total));
  if (seconds > 0.5) tail += concat(" ", format_bytes(static_cast<std::uint64_t>(rate)), "/s");
  if (n_total > n_done && rate > 1 && seconds > 2) {
    tail += concat(" ", static_cast<std::uint64_t>(static_cast<double>(n_total - n_done) / rate),
                   " s left");
  }
  const std::uint64_t percent = n_total > 0 ? n_done * 100 / n_total : 0;
  const std::string head = n_total > 0 ? concat(label_, " ", percent, "% ") : concat(label_, " ");
  const std::size_t n_used = display_width(head) + display_width(tail) + 3;
  const std::size_t n_columns = terminal_columns();
  const std::size_t n_bar =
      n_columns > n_used + 10 ? std::min<std::size_t>(n_columns - n_used, 40) : 0;
  std::string bar;
  if (n_total > 0 && n_bar > 0) {
    const std::size_t n_full = static_cast<std::size_t>(n_done * n_bar / n_total);
    for (std::size_t i = 0; i < n_bar; ++i) bar += i < n_full ? "█" : " ";
    bar = concat("▕", bar, "▏");
  }
  write_stderr(concat("\r", head, bar, tail, "\033[K"));
  is_bar_open_ = true;
}

void PullDisplay::end_bar() {
  if (is_bar_open_) {
    draw(n_last_, n_total_, monotonic_ms());
    write_stderr("\n");
  }
  is_bar_open_ = false;
  label_.clear();
}

}  // namespace deepwell::apps
