// The epoll loop over streams, and when the next one starts.
#include "apps/load_client.hpp"

#include <netdb.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>

#include "apps/load_stream.hpp"
#include "base/check.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/ids.hpp"

namespace deepwell::apps {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{5};
constexpr std::uint32_t kSpareFds = 64;
// More at once would overflow the listener's backlog, and a connection whose first packet was dropped
// comes a second later.
constexpr std::size_t kMaxConnecting = 256;

class Loop {
 public:
  Loop(const LoadPlan& plan, LoadAddress address, ScopedFd epoll_fd)
      : plan_(plan),
        address_(address),
        epoll_fd_(std::move(epoll_fd)),
        run_id_(random_hex(8)),
        is_amid_due_(plan.amid_after.count() > 0),
        streams_(plan.n_streams + (is_amid_due_ ? 1 : 0)) {
    for (std::uint32_t slot = plan.n_streams; slot > 0; --slot) free_slots_.push_back(slot - 1);
  }

  Status run() {
    next_due_ = Clock::now();
    amid_due_ = next_due_ + plan_.amid_after;
    SteadyTime next_tick = next_due_ + kTick;
    while (true) {
      if (plan_.is_cancelled && plan_.is_cancelled()) {
        return Error{Code::kCancelled, "the load was stopped"};
      }
      start_due(Clock::now());
      if (n_open_ == 0 && !may_start_more() && !is_amid_due_) return {};
      DW_TRY(wait(next_tick));
      if (Clock::now() < next_tick) continue;
      for (std::size_t slot = 0; slot < streams_.size(); ++slot) {
        if (streams_[slot]) change(slot, [](LoadStream& stream) { stream.on_tick(Clock::now()); });
      }
      next_tick = Clock::now() + kTick;
      tell_change();
    }
  }

 private:
  bool may_start_more() const {
    if (plan_.n_total != 0 && n_started_ >= plan_.n_total) return false;
    return !plan_.is_over || !plan_.is_over();
  }

  void start_due(SteadyTime now) {
    const bool is_open_loop = plan_.rate_per_s > 0;
    if (is_amid_due_ && amid_due_ <= now) {
      is_amid_due_ = false;
      start(plan_.n_streams, LoadPlan::kAmid, now);
    }
    while (!free_slots_.empty() && n_connecting_ < kMaxConnecting && may_start_more()) {
      if (is_open_loop && next_due_ > now) return;
      const std::uint64_t slot = free_slots_.back();
      free_slots_.pop_back();
      const SteadyTime due = is_open_loop ? next_due_ : now;
      if (is_open_loop) {
        next_due_ += std::chrono::duration_cast<Clock::duration>(
            std::chrono::duration<double>(1.0 / plan_.rate_per_s));
      }
      start(slot, n_started_++, due);
    }
  }

  void start(std::uint64_t slot, std::uint64_t number, SteadyTime due) {
    ++n_open_;
    streams_[slot] = std::make_unique<LoadStream>(plan_, address_, epoll_fd_.get(), slot, number,
                                                  concat("load-", run_id_, "-", number), due);
    change(slot, [](LoadStream& stream) { stream.start(Clock::now()); });
  }

  // The counts follow each change of a stream, so that nobody has to count thousands of them.
  template <class Deed>
  void change(std::size_t slot, Deed deed) {
    LoadStream& stream = *streams_[slot];
    n_connecting_ -= stream.is_connecting() ? 1 : 0;
    n_running_ -= stream.is_running() ? 1 : 0;
    deed(stream);
    n_connecting_ += stream.is_connecting() ? 1 : 0;
    n_running_ += stream.is_running() ? 1 : 0;
    take_if_over(slot);
  }

  void take_if_over(std::size_t slot) {
    if (!streams_[slot] || !streams_[slot]->is_over()) return;
    LoadResult result = std::move(streams_[slot]->result());
    streams_[slot].reset();
    --n_open_;
    if (result.number != LoadPlan::kAmid) free_slots_.push_back(slot);
    plan_.on_result(std::move(result));
  }

  Status wait(SteadyTime next_tick) {
    SteadyTime until = next_tick;
    const bool waits_for_due = plan_.rate_per_s > 0 && !free_slots_.empty() && may_start_more();
    if (waits_for_due) until = std::min(until, next_due_);
    const auto left = std::max(Clock::duration::zero(), until - Clock::now());
    const timespec limit{0, static_cast<long>(std::chrono::nanoseconds(left).count())};
    std::array<epoll_event, 512> events;
    const int n = ::epoll_pwait2(epoll_fd_.get(), events.data(), static_cast<int>(events.size()),
                                 &limit, nullptr);
    if (n < 0 && errno != EINTR) return errno_error(errno, "wait for", "the sockets");
    for (int i = 0; i < n; ++i) {
      const auto slot = static_cast<std::size_t>(events[static_cast<std::size_t>(i)].data.u64);
      if (!streams_[slot]) continue;  // an earlier event of this batch was its last
      change(slot, [](LoadStream& stream) { stream.on_ready(Clock::now()); });
    }
    return {};
  }

  void tell_change() {
    if (plan_.on_change) plan_.on_change(n_running_, n_open_);
  }

  const LoadPlan& plan_;
  const LoadAddress address_;
  const ScopedFd epoll_fd_;
  const std::string run_id_;
  bool is_amid_due_;
  std::vector<std::unique_ptr<LoadStream>> streams_;  // by slot; null: free
  std::vector<std::uint64_t> free_slots_;
  std::uint64_t n_started_ = 0;
  std::size_t n_connecting_ = 0;
  std::uint32_t n_running_ = 0;
  std::uint32_t n_open_ = 0;
  SteadyTime next_due_;
  SteadyTime amid_due_;
};

}  // namespace

std::string_view load_end_name(LoadEnd end) {
  switch (end) {
    case LoadEnd::kDone:
      return "done";
    case LoadEnd::kRefused:
      return "refused";
    case LoadEnd::kError:
      return "error";
    case LoadEnd::kCut:
      return "cut";
    case LoadEnd::kMalformed:
      return "malformed";
    case LoadEnd::kTimedOut:
      return "timed_out";
    case LoadEnd::kLeft:
      return "left";
  }
  return "unknown";
}

Result<LoadAddress> resolve_target(const LoadTarget& target) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = concat(target.port);
  const int failed = ::getaddrinfo(target.host.c_str(), port.c_str(), &hints, &found);
  if (failed != 0) {
    return invalid_argument(concat("no address for '", target.host, "': ", ::gai_strerror(failed)));
  }
  LoadAddress address;
  address.n_bytes = found->ai_addrlen;
  std::copy_n(reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen,
              reinterpret_cast<char*>(&address.storage));
  ::freeaddrinfo(found);
  return address;
}

Result<LoadTarget> parse_load_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const auto refuse = [&url](std::string_view why) {
    return invalid_argument(
        concat("--url: '", url, "' ", why, "; expected http://HOST:PORT[/PATH]"));
  };
  if (!url.starts_with(kScheme)) return refuse("does not begin with http://");
  const std::string_view rest = std::string_view(url).substr(kScheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view host = rest.substr(0, slash);
  std::string_view path = rest.substr(slash);
  LoadTarget target;
  const std::size_t bracket = host.rfind(']');
  const std::size_t colon = host.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (has_port) {
    const std::string_view port = host.substr(colon + 1);
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), target.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || target.port == 0) {
      return refuse("has no port between 1 and 65535");
    }
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) return refuse("names no host");
  target.host = host;
  while (path.ends_with('/')) path.remove_suffix(1);
  const std::string_view last = path.substr(path.rfind('/') + 1);
  const bool has_version = last.size() >= 2 && last[0] == 'v' && last[1] >= '0' && last[1] <= '9';
  target.path = has_version ? std::string(path) : concat(path, "/v1");
  return target;
}

Status allow_streams(std::uint32_t n_streams) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t n_wanted = static_cast<rlim_t>(n_streams) + kSpareFds;
  if (limit.rlim_cur >= n_wanted) return {};
  if (limit.rlim_max < n_wanted) {
    return Error{Code::kResourceExhausted,
                 concat(n_streams, " streams need ", n_wanted,
                        " file descriptors, and this process may have ", limit.rlim_max,
                        "; raise the limit (ulimit -Hn) or ask for fewer streams")};
  }
  limit.rlim_cur = n_wanted;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return errno_error(errno, "raise", "the limit of file descriptors");
  }
  return {};
}

Status run_load(const LoadPlan& plan) {
  DW_CHECK(plan.body && plan.on_result, "a load needs bodies and somebody who takes the results");
  DW_CHECK(plan.n_streams > 0, "a load needs at least one stream");
  DW_CHECK(plan.n_total != 0 || plan.is_over, "a load needs an end");
  DW_ASSIGN(const LoadAddress address, resolve_target(plan.target));
  DW_TRY(allow_streams(plan.n_streams));
  ScopedFd epoll_fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_fd.is_open()) return errno_error(errno, "open", "an epoll instance");
  Loop loop(plan, address, std::move(epoll_fd));
  return loop.run();
}

}  // namespace deepwell::apps
