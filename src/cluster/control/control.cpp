// The control channel: lines as text, packets over a Unix socket.
#include "cluster/control/control.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

// Two full crash pages of tags (20 digits each) and a path; longer lines are refused on both ends.
constexpr std::size_t kMaxLineBytes = 32 * 1024;
constexpr std::string_view kKindWords[] = {
    "tick",         "loading",     "ready",           "kill-worker", "drained",  "worker-loading",
    "worker-ready", "worker-died", "worker-draining", "drain",       "hand-over"};
constexpr std::string_view kKeys[] = {"worker", "epoch", "signal", "progress", "tags", "text"};

// For messages: what a hostile line holds is not printed at full length.
std::string shown(std::string_view word) {
  std::string text(word.substr(0, 40));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

template <class Number>
Status parse_number(std::string_view key, std::string_view value, Number& out) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
  if (error == std::errc() && end == value.data() + value.size()) return {};
  return invalid_argument(concat("control line: ", key, "=", shown(value), " is not a number"));
}

Status parse_tags(std::string_view value, std::vector<std::uint64_t>& out) {
  for (;;) {
    const std::size_t comma = value.find(',');
    DW_TRY(parse_number("tags", value.substr(0, comma), out.emplace_back()));
    if (comma == std::string_view::npos) return {};
    value.remove_prefix(comma + 1);
  }
}

Status parse_field(std::string_view key, std::string_view value, ControlMessage& out) {
  if (key == "worker") return parse_number(key, value, out.worker);
  if (key == "epoch") return parse_number(key, value, out.epoch);
  if (key == "tags") return parse_tags(value, out.tags);
  if (key == "signal") {
    DW_TRY(parse_number(key, value, out.signal));
    if (out.signal >= 0) return {};
    return invalid_argument(concat("control line: signal=", out.signal, " is negative"));
  }
  DW_TRY(parse_number(key, value, out.progress));
  if (out.progress >= 0.0 && out.progress <= 1.0) return {};
  return invalid_argument(concat("control line: progress=", shown(value), " is not in 0 to 1"));
}

Result<ControlKind> parse_kind(std::string_view word) {
  const auto* const found = std::find(std::begin(kKindWords), std::end(kKindWords), word);
  if (found == std::end(kKindWords)) {
    return invalid_argument(concat("control line: unknown kind \"", shown(word), "\""));
  }
  return static_cast<ControlKind>(found - std::begin(kKindWords));
}

Error gone() { return unavailable("the other end of the control channel is gone"); }

}  // namespace

std::string format_control(const ControlMessage& message) {
  std::string line(kKindWords[static_cast<std::size_t>(message.kind)]);
  if (message.worker != 0) line += concat(" worker=", message.worker);
  if (message.epoch != 0) line += concat(" epoch=", message.epoch);
  if (message.signal != 0) line += concat(" signal=", message.signal);
  if (message.progress != 0.0) line += concat(" progress=", message.progress);
  for (std::size_t i = 0; i < message.tags.size(); ++i) {
    line += concat(i == 0 ? " tags=" : ",", message.tags[i]);
  }
  if (!message.text.empty()) {
    std::string text = message.text;
    std::replace(text.begin(), text.end(), '\n', ' ');
    line += concat(" text=", text);
  }
  return line;
}

Result<ControlMessage> parse_control(std::string_view line) {
  if (line.find('\n') != std::string_view::npos) {
    return invalid_argument("control line: holds a line feed");
  }
  ControlMessage message;
  const std::size_t len_kind = std::min(line.find(' '), line.size());
  DW_ASSIGN(message.kind, parse_kind(line.substr(0, len_kind)));
  line.remove_prefix(len_kind);
  std::array<bool, std::size(kKeys)> is_seen{};
  while (!line.empty()) {
    line.remove_prefix(1);  // the space before the field
    const std::size_t len_key = std::min(line.find('='), line.size());
    const std::string_view key = line.substr(0, len_key);
    const auto* const found = std::find(std::begin(kKeys), std::end(kKeys), key);
    if (found == std::end(kKeys) || len_key == line.size()) {
      return invalid_argument(concat("control line: unknown field \"", shown(key), "\""));
    }
    if (std::exchange(is_seen[static_cast<std::size_t>(found - std::begin(kKeys))], true)) {
      return invalid_argument(concat("control line: ", key, " is given twice"));
    }
    line.remove_prefix(len_key + 1);
    if (key == "text") {
      message.text = line;
      break;
    }
    const std::size_t len_value = std::min(line.find(' '), line.size());
    DW_TRY(parse_field(key, line.substr(0, len_value), message));
    line.remove_prefix(len_value);
  }
  return message;
}

ControlChannel::ControlChannel(int fd) : fd_(fd) { ::fcntl(fd_, F_SETFD, FD_CLOEXEC); }

ControlChannel::~ControlChannel() {
  if (fd_ >= 0) ::close(fd_);
}

ControlChannel::ControlChannel(ControlChannel&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

ControlChannel& ControlChannel::operator=(ControlChannel&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Result<std::pair<ControlChannel, ControlChannel>> ControlChannel::make_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
    return errno_error(errno, "open", "a control channel");
  }
  return std::pair<ControlChannel, ControlChannel>(fds[0], fds[1]);
}

Status ControlChannel::send(const ControlMessage& message) {
  const std::string line = format_control(message);
  if (line.size() > kMaxLineBytes) {
    return invalid_argument(
        concat("control line of ", line.size(), " bytes: the limit is ", kMaxLineBytes));
  }
  for (;;) {
    if (::send(fd_, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) return gone();
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM) {
      return Error{Code::kResourceExhausted,
                   "the control channel is full: the other end does not read"};
    }
    return errno_error(errno, "write to", "the control channel");
  }
}

Result<std::optional<ControlMessage>> ControlChannel::receive(std::chrono::milliseconds limit) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + limit;
  std::array<char, kMaxLineBytes> line;
  for (;;) {
    const ssize_t n = ::recv(fd_, line.data(), line.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n == 0) return gone();
    if (n > static_cast<ssize_t>(line.size())) {
      return invalid_argument(
          concat("control line of ", n, " bytes: the limit is ", kMaxLineBytes));
    }
    if (n > 0) {
      DW_ASSIGN(ControlMessage message,
                parse_control(std::string_view(line.data(), static_cast<std::size_t>(n))));
      return std::optional(std::move(message));
    }
    // The kernel reports once that the other end left packets unread, before what it sent itself.
    if (errno == EINTR || errno == ECONNRESET) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return errno_error(errno, "read from", "the control channel");
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return std::optional<ControlMessage>();
    pollfd waited{fd_, POLLIN, 0};
    ::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
  }
}

}  // namespace deepwell::cluster
