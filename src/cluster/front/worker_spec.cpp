// Reading a worker's line.
#include "cluster/front/worker_spec.hpp"

#include <charconv>
#include <optional>
#include <vector>

#include "base/concat.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::uint32_t kMaxWeight = 65535;
constexpr std::uint32_t kMaxFails = 65535;
constexpr std::uint32_t kMaxSeconds = 24 * 3600;

std::vector<std::string_view> words_of(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return words;
    const std::size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

Result<std::uint32_t> read_number(std::string_view word, std::string_view digits, std::uint32_t min,
                                  std::uint32_t max) {
  std::uint32_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || value < min || value > max) {
    return invalid_argument(
        concat("--worker: '", word, "' needs a whole number from ", min, " to ", max));
  }
  return value;
}

/// "10", "10s", "2m", "1h".
Result<std::chrono::seconds> read_time(std::string_view word, std::string_view text) {
  std::uint32_t unit_s = 1;
  if (!text.empty() && (text.back() == 's' || text.back() == 'm' || text.back() == 'h')) {
    unit_s = text.back() == 'h' ? 3600 : text.back() == 'm' ? 60 : 1;
    text.remove_suffix(1);
  }
  DW_ASSIGN(const std::uint32_t n, read_number(word, text, 0, kMaxSeconds / unit_s));
  return std::chrono::seconds(n * unit_s);
}

Status read_rule(std::string_view word, RoundRobinPeer& rules) {
  const std::size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  if (word == "backup") {
    rules.is_backup = true;
  } else if (word == "down") {
    rules.is_down = true;
  } else if (name == "weight") {
    DW_ASSIGN(rules.weight, read_number(word, value, 1, kMaxWeight));
  } else if (name == "max_fails") {
    DW_ASSIGN(rules.max_fails, read_number(word, value, 0, kMaxFails));
  } else if (name == "fail_timeout") {
    DW_ASSIGN(rules.fail_timeout, read_time(word, value));
  } else {
    return invalid_argument(concat("--worker: '", word,
                                   "' is not one of weight=N, max_fails=N, fail_timeout=TIME, "
                                   "backup, down"));
  }
  return {};
}

}  // namespace

Result<WorkerSpec> parse_worker_spec(std::string_view text) {
  const std::vector<std::string_view> words = words_of(text);
  if (words.empty() || words.front().find(':') == std::string_view::npos) {
    return invalid_argument(concat("--worker: '", text, "' does not begin with HOST:PORT"));
  }
  WorkerSpec spec{.address = std::string(words.front()), .rules = {}};
  for (std::size_t i = 1; i < words.size(); ++i) DW_TRY(read_rule(words[i], spec.rules));
  return spec;
}

}  // namespace deepwell::cluster
