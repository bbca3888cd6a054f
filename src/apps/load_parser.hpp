// EventStreamParser: what a load client reads from a socket: one HTTP/1.1 response whose body is
// server-sent events, or anything else.
// References: RFC 9112 (chunked transfer coding), https://html.spec.whatwg.org/#parsing-an-event-stream
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace deepwell::apps {

/// The views are valid during the call that hands the event over.
struct StreamEvent {
  std::string_view type;  // of `event:`; empty if there was none
  std::string_view id;    // of `id:`, the last one seen, as EventSource has it
  std::string_view data;  // lines joined by a line feed
};

/// The bytes may be cut anywhere. Not net::Client, because a load client holds thousands of streams on
/// one thread and must know when each byte came, not when a coroutine got its turn.
class EventStreamParser {
 public:
  using OnEvent = std::function<void(const StreamEvent&)>;

  static constexpr std::size_t kMaxHeadBytes = 64 * 1024;
  static constexpr std::size_t kMaxLineBytes = 4 * 1024 * 1024;  // of an event
  static constexpr std::size_t kMaxTextBytes = 64 * 1024;        // kept of a body without events

  /// Hands over each event that is complete. Error: kDataLoss, what breaks the protocol; nothing more
  /// may be fed then.
  Status feed(std::string_view bytes, const OnEvent& on_event);

  int status() const { return status_; }  // 0: no status line yet
  bool has_head() const { return state_ > State::kHeader; }
  bool is_event_stream() const { return is_event_stream_; }
  /// The body ended as its framing said it would. A body without framing never is.
  bool is_whole() const { return state_ == State::kEnd; }
  /// The value of Deepwell-Stream-Id; empty if there was none.
  const std::string& stream_id() const { return stream_id_; }
  /// The start of a body that is no event stream.
  const std::string& text() const { return text_; }

 private:
  // In the order in which they come; from kChunkSize to kTrailer only for a chunked body.
  enum class State : std::uint8_t {
    kStatusLine,
    kHeader,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailer,
    kSizedBody,
    kEndlessBody,
    kEnd
  };

  Status take_line(std::string_view line);
  Status take_status_line(std::string_view line);
  Status take_header(std::string_view line);
  Status take_chunk_size(std::string_view line);
  void end_head();
  Status take_body(std::string_view bytes, const OnEvent& on_event);
  void take_event_line(std::string_view line, const OnEvent& on_event);
  bool is_in_lines() const;

  State state_ = State::kStatusLine;
  int status_ = 0;
  bool is_event_stream_ = false;
  bool is_chunked_ = false;
  bool has_length_ = false;
  std::uint64_t n_left_bytes_ = 0;  // of the chunk or of the sized body
  std::size_t n_head_bytes_ = 0;
  std::string line_;  // of head, chunk size or trailer: what came of it so far
  std::string stream_id_;
  std::string text_;

  std::string event_line_;
  bool skips_line_feed_ = false;  // the last line ended in a carriage return
  bool has_data_ = false;
  std::string type_;
  std::string id_;
  std::string data_;
};

}  // namespace deepwell::apps
