// Head, framing and events of a response.
#include "apps/load_parser.hpp"

#include <algorithm>
#include <charconv>

#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

constexpr std::size_t kMaxShown = 80;

Error malformed(std::string_view what, std::string_view line) {
  return data_loss(
      concat("the server's response has ", what, ": '", line.substr(0, kMaxShown), "'"));
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_names(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool EventStreamParser::is_in_lines() const {
  return state_ == State::kStatusLine || state_ == State::kHeader || state_ == State::kChunkSize ||
         state_ == State::kChunkEnd || state_ == State::kTrailer;
}

Status EventStreamParser::feed(std::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty() && state_ != State::kEnd) {
    if (is_in_lines()) {
      const std::size_t end = bytes.find('\n');
      line_.append(bytes.substr(0, end));
      n_head_bytes_ += std::min(bytes.size(), end);
      if (n_head_bytes_ > kMaxHeadBytes) return malformed("too long a head", line_);
      if (end == std::string_view::npos) return {};
      bytes.remove_prefix(end + 1);
      if (line_.ends_with('\r')) line_.pop_back();
      DW_TRY(take_line(line_));
      line_.clear();
      continue;
    }
    const bool is_bounded = state_ != State::kEndlessBody;
    const auto n =
        is_bounded ? static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), n_left_bytes_))
                   : bytes.size();
    DW_TRY(take_body(bytes.substr(0, n), on_event));
    bytes.remove_prefix(n);
    if (!is_bounded) continue;
    n_left_bytes_ -= n;
    if (n_left_bytes_ == 0) state_ = is_chunked_ ? State::kChunkEnd : State::kEnd;
  }
  return {};
}

Status EventStreamParser::take_line(std::string_view line) {
  switch (state_) {
    case State::kStatusLine:
      return take_status_line(line);
    case State::kHeader:
      return take_header(line);
    case State::kChunkSize:
      return take_chunk_size(line);
    case State::kChunkEnd:
      if (!line.empty()) return malformed("bytes behind a chunk", line);
      state_ = State::kChunkSize;
      return {};
    default:  // a trailer field, or the empty line behind them
      if (line.empty()) state_ = State::kEnd;
      return {};
  }
}

Status EventStreamParser::take_status_line(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (!line.starts_with("HTTP/1.") || space == std::string_view::npos) {
    return malformed("no HTTP/1 status line", line);
  }
  const std::string_view code = line.substr(space + 1, 3);
  const auto parsed = std::from_chars(code.data(), code.data() + code.size(), status_);
  if (parsed.ec != std::errc() || parsed.ptr != code.data() + 3 || status_ < 100) {
    status_ = 0;
    return malformed("a wrong status", line);
  }
  state_ = State::kHeader;
  return {};
}

Status EventStreamParser::take_header(std::string_view line) {
  if (line.empty()) {
    end_head();
    return {};
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return malformed("a header without a colon", line);
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (equal_names(name, "Transfer-Encoding")) {
    is_chunked_ = equal_names(value, "chunked");
    if (!is_chunked_) return malformed("an unknown transfer coding", value);
  } else if (equal_names(name, "Content-Type")) {
    const std::string_view type = trimmed(value.substr(0, value.find(';')));
    is_event_stream_ = equal_names(type, "text/event-stream");
  } else if (equal_names(name, "Content-Length")) {
    const char* end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, n_left_bytes_);
    if (parsed.ec != std::errc() || parsed.ptr != end) return malformed("a wrong length", value);
    has_length_ = true;
  } else if (equal_names(name, "Deepwell-Stream-Id")) {
    stream_id_ = value;
  }
  return {};
}

void EventStreamParser::end_head() {
  n_head_bytes_ = 0;
  if (status_ < 200) {  // 100 Continue and its like: the real head follows
    state_ = State::kStatusLine;
  } else if (is_chunked_) {
    state_ = State::kChunkSize;
  } else if (has_length_) {
    state_ = n_left_bytes_ == 0 ? State::kEnd : State::kSizedBody;
  } else {
    state_ = State::kEndlessBody;
  }
}

Status EventStreamParser::take_chunk_size(std::string_view line) {
  const std::string_view digits = trimmed(line.substr(0, line.find(';')));
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, n_left_bytes_, 16);
  if (parsed.ec != std::errc() || parsed.ptr != end) return malformed("a wrong chunk size", line);
  n_head_bytes_ = 0;
  state_ = n_left_bytes_ == 0 ? State::kTrailer : State::kChunkData;
  return {};
}

Status EventStreamParser::take_body(std::string_view bytes, const OnEvent& on_event) {
  if (!is_event_stream_) {
    text_.append(bytes.substr(0, kMaxTextBytes - text_.size()));
    return {};
  }
  while (!bytes.empty()) {
    if (skips_line_feed_ && bytes.front() == '\n') {
      skips_line_feed_ = false;
      bytes.remove_prefix(1);
      continue;
    }
    skips_line_feed_ = false;
    const std::size_t end = bytes.find_first_of("\r\n");
    if (end == std::string_view::npos) {
      event_line_.append(bytes);
      if (event_line_.size() > kMaxLineBytes) return malformed("too long an event", event_line_);
      return {};
    }
    skips_line_feed_ = bytes[end] == '\r';
    if (event_line_.empty()) {  // the usual case needs no copy
      take_event_line(bytes.substr(0, end), on_event);
    } else {
      event_line_.append(bytes.substr(0, end));
      take_event_line(event_line_, on_event);
      event_line_.clear();
    }
    if (data_.size() > kMaxLineBytes) return malformed("too long an event", data_);
    bytes.remove_prefix(end + 1);
  }
  return {};
}

void EventStreamParser::take_event_line(std::string_view line, const OnEvent& on_event) {
  if (line.empty()) {
    if (has_data_) on_event({type_, id_, data_});
    type_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  if (line.front() == ':') return;  // a comment
  const std::size_t colon = std::min(line.find(':'), line.size());
  const std::string_view name = line.substr(0, colon);
  std::string_view value = line.substr(std::min(colon + 1, line.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "data") {
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (name == "event") {
    type_ = value;
  } else if (name == "id") {
    id_ = value;
  }
}

}  // namespace deepwell::apps
