// Sockets, retries and measurements of one stream.
#include "apps/load_stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
// How long the end of the response may take behind [DONE]. Nothing depends on it; a server whose last bytes meet
// a closed socket would count a client that left.
constexpr std::chrono::milliseconds kEndingLimit{200};

// "type: message" of an OpenAI error body, else the start of what it is.
std::string refusal_text(int status, const std::string& body) {
  const auto parsed = nlohmann::json::parse(body, nullptr, false);
  if (parsed.is_object()) {
    const auto error = parsed.find("error");
    if (error != parsed.end() && error->is_object()) {
      const auto message = error->find("message");
      if (message != error->end() && message->is_string()) {
        return concat(status, ": ", message->get<std::string>());
      }
    }
  }
  constexpr std::size_t kMaxShown = 120;
  return concat(status, ": ", std::string_view(body).substr(0, kMaxShown));
}

}  // namespace

LoadStream::LoadStream(const LoadPlan& plan, const LoadAddress& address, int epoll_fd,
                       std::uint64_t slot, std::uint64_t number, std::string key, SteadyTime due)
    : plan_(plan),
      address_(address),
      epoll_fd_(epoll_fd),
      slot_(slot),
      key_(std::move(key)),
      reader_(plan.reader ? plan.reader(number) : LoadReader{}) {
  result_.number = number;
  result_.client = static_cast<std::uint32_t>(slot);
  result_.due = due;
}

std::string LoadStream::request_text() const {
  const LoadTarget& target = plan_.target;
  std::string head;
  std::string body;
  if (asks_for_rest()) {
    head = concat("GET ", target.path, "/streams/", stream_id_, " HTTP/1.1\r\n");
    if (!answer_.cursor().empty()) head += concat("Last-Event-ID: ", answer_.cursor(), "\r\n");
  } else {
    body = plan_.body(result_.number);
    head = concat("POST ", target.path, "/chat/completions HTTP/1.1\r\n",
                  "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n");
    if (plan_.use_reattach) head += concat("Idempotency-Key: ", key_, "\r\n");
  }
  const bool is_v6 = target.host.find(':') != std::string::npos;
  head += concat("Host: ", is_v6 ? "[" : "", target.host, is_v6 ? "]" : "", ":", target.port,
                 "\r\nAccept: text/event-stream\r\nConnection: close\r\n");
  if (!target.api_key.empty()) head += concat("Authorization: Bearer ", target.api_key, "\r\n");
  return concat(head, "\r\n", body);
}

void LoadStream::connect(SteadyTime now) {
  parser_ = EventStreamParser();
  request_ = request_text();
  n_sent_bytes_ = 0;
  phase_ = Phase::kConnecting;
  const Status opened = open_socket();
  if (!opened) on_broken(opened.error().message, now);
}

Status LoadStream::open_socket() {
  fd_ =
      ScopedFd(::socket(address_.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd_.is_open()) return errno_error(errno, "open", "a socket");
  const int yes = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (reader_.max_bytes_per_s != 0) {
    // Else the kernel would read ahead for the slow reader.
    const int n_bytes = 4096;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &n_bytes, sizeof n_bytes);
  }
  const auto* address = reinterpret_cast<const sockaddr*>(&address_.storage);
  if (::connect(fd_.get(), address, address_.n_bytes) != 0 && errno != EINPROGRESS) {
    return errno_error(errno, "connect to", plan_.target.host);
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  event.data.u64 = slot_;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd_.get(), &event) != 0) {
    return errno_error(errno, "watch", "a socket");
  }
  return {};
}

void LoadStream::on_ready(SteadyTime now) {
  if (phase_ == Phase::kConnecting) {
    int error = 0;
    socklen_t n_bytes = sizeof error;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &n_bytes);
    if (error != 0) {
      on_broken(errno_error(error, "connect to", plan_.target.host).message, now);
      return;
    }
    phase_ = Phase::kSending;
  }
  if (phase_ == Phase::kSending) send_request(now);
  const bool is_reading = phase_ == Phase::kReading || phase_ == Phase::kEnding;
  if (is_reading && reader_.max_bytes_per_s == 0) receive(now, SIZE_MAX);
}

void LoadStream::send_request(SteadyTime now) {
  while (n_sent_bytes_ < request_.size()) {
    const ssize_t n = ::send(fd_.get(), request_.data() + n_sent_bytes_,
                             request_.size() - n_sent_bytes_, MSG_NOSIGNAL);
    if (n > 0) {
      n_sent_bytes_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN || errno == ENOTCONN) {
      return;
    } else if (errno != EINTR) {
      // A server may refuse before it has read everything: what it said can still be read.
      break;
    }
  }
  phase_ = Phase::kReading;
  last_slow_read_ = now;
}

void LoadStream::receive(SteadyTime now, std::size_t max_bytes) {
  static thread_local std::array<char, kReadBytes> buffer;
  std::size_t n_read = 0;
  while (fd_.is_open() && n_read < max_bytes) {
    const std::size_t n_wanted = std::min(buffer.size(), max_bytes - n_read);
    const ssize_t n = ::recv(fd_.get(), buffer.data(), n_wanted, 0);
    if (n > 0) {
      n_read += static_cast<std::size_t>(n);
      take_bytes({buffer.data(), static_cast<std::size_t>(n)}, now);
    } else if (n == 0) {
      on_broken("the server closed the connection before the end", now);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      on_broken(errno_error(errno, "read from", plan_.target.host).message, now);
    }
  }
}

void LoadStream::take_bytes(std::string_view bytes, SteadyTime now) {
  if (phase_ == Phase::kOver) return;
  const Status fed = parser_.feed(bytes, [this, now](const StreamEvent& event) {
    const bool is_listening = phase_ == Phase::kReading && parser_.status() == 200;
    if (is_listening) take_event(event, now);
  });
  if (parser_.status() != 0) result_.status = parser_.status();
  if (phase_ == Phase::kOver || phase_ == Phase::kWaiting) return;
  if (!fed) {
    finish(LoadEnd::kMalformed, fed.error().message, now);
  } else if (phase_ == Phase::kEnding) {
    if (parser_.is_whole()) finish(LoadEnd::kDone, {}, now);
  } else if (parser_.is_whole()) {
    if (parser_.status() == 200 && parser_.is_event_stream()) {
      on_broken("the stream ended without [DONE]", now);
    } else {
      take_refusal(now);
    }
  } else if (stream_id_.empty() && parser_.has_head() && parser_.status() == 200) {
    stream_id_ = parser_.stream_id();
  }
}

void LoadStream::take_event(const StreamEvent& event, SteadyTime now) {
  const auto kind = answer_.take(event);
  if (!kind) {
    finish(LoadEnd::kMalformed, kind.error().message, now);
    return;
  }
  ++result_.n_events;
  if (stream_id_.empty()) stream_id_ = answer_.answer().id;
  if (was_broken_) {
    was_broken_ = false;
    if (result_.n_events > 1) ++result_.n_reattached;
  }
  switch (*kind) {
    case AnswerReader::Kind::kToken:
      note_token(now);
      break;
    case AnswerReader::Kind::kDuplicate:
      ++result_.n_duplicates;
      break;
    case AnswerReader::Kind::kDone:
      phase_ = Phase::kEnding;
      result_.ended = now;
      ending_deadline_ = now + kEndingLimit;
      return;
    case AnswerReader::Kind::kError:
      if (plan_.use_reattach && answer_.answer().is_error_resumable) {
        on_broken(answer_.answer().error, now);
      } else {
        finish(LoadEnd::kError, answer_.answer().error, now);
      }
      return;
    case AnswerReader::Kind::kOther:
      break;
  }
  if (reader_.leave_after_events != 0 && result_.n_events >= reader_.leave_after_events) {
    finish(LoadEnd::kLeft, "left as planned", now);
  }
}

void LoadStream::note_token(SteadyTime now) {
  if (result_.n_token_events == 0) {
    result_.time_to_first_token = now - result_.due;
  } else {
    const std::chrono::nanoseconds gap = now - last_token_;
    const auto gap_us = std::chrono::duration_cast<std::chrono::microseconds>(gap).count();
    result_.gaps_us.push_back(
        static_cast<std::uint32_t>(std::min<std::int64_t>(gap_us, UINT32_MAX)));
    if (gap > result_.longest_gap) {
      result_.longest_gap = gap;
      result_.gap_began = last_token_;
    }
  }
  last_token_ = now;
  ++result_.n_token_events;
}

void LoadStream::take_refusal(SteadyTime now) {
  const int status = parser_.status();
  std::string text = status == 200 ? concat("the answer is no event stream: ",
                                            std::string_view(parser_.text()).substr(0, 80))
                                   : refusal_text(status, parser_.text());
  const bool passes = status == 502 || status == 503 || status == 504;
  if (plan_.use_reattach && passes) {
    retry(std::move(text), now);
  } else {
    finish(asks_for_rest() ? LoadEnd::kCut : LoadEnd::kRefused, std::move(text), now);
  }
}

void LoadStream::on_broken(std::string why, SteadyTime now) {
  fd_.reset();
  if (phase_ == Phase::kEnding) {  // all was said
    finish(LoadEnd::kDone, {}, now);
    return;
  }
  if (parser_.has_head() && parser_.status() != 200) {  // a refusal without framing ends here
    take_refusal(now);
    return;
  }
  if (phase_ != Phase::kConnecting || result_.n_breaks == 0) ++result_.n_breaks;
  if (plan_.use_reattach) {
    retry(std::move(why), now);
  } else {
    finish(LoadEnd::kCut, std::move(why), now);
  }
}

void LoadStream::retry(std::string why, SteadyTime now) {
  fd_.reset();
  if (!was_broken_) retry_deadline_ = now + plan_.retry_limit;
  was_broken_ = true;
  if (now >= retry_deadline_) {
    finish(LoadEnd::kCut, concat("given up after retries: ", why), now);
    return;
  }
  result_.message = std::move(why);
  retry_at_ = now + plan_.retry_interval;
  phase_ = Phase::kWaiting;
}

void LoadStream::on_tick(SteadyTime now) {
  if (phase_ == Phase::kOver) return;
  if (now - result_.due > plan_.answer_limit) {
    finish(LoadEnd::kTimedOut, concat("no end after ", plan_.answer_limit.count(), " ms"), now);
  } else if (phase_ == Phase::kEnding && now >= ending_deadline_) {
    finish(LoadEnd::kDone, {}, now);
  } else if (phase_ == Phase::kWaiting && now >= retry_at_) {
    if (!asks_for_rest()) ++result_.n_resent;
    connect(now);
  } else if (reader_.max_bytes_per_s != 0 && phase_ == Phase::kReading) {
    const std::chrono::duration<double> passed = now - last_slow_read_;
    const double n = std::min(passed.count(), 1.0) * reader_.max_bytes_per_s;
    if (n < 1.0) return;
    last_slow_read_ = now;
    receive(now, static_cast<std::size_t>(n));
  }
}

void LoadStream::finish(LoadEnd end, std::string message, SteadyTime now) {
  fd_.reset();
  phase_ = Phase::kOver;
  result_.end = end;
  result_.message = std::move(message);
  if (end != LoadEnd::kDone) result_.ended = now;
  result_.answer = std::move(answer_.answer());
}

}  // namespace deepwell::apps
