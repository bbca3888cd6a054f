// The load client: holds thousands of streams of an OpenAI-compatible server on one thread, and measures them.
//
//   LoadPlan plan;
//   plan.target = *parse_load_url("http://127.0.0.1:8080");
//   plan.n_streams = 100;
//   plan.n_total = 1000;
//   plan.body = [](std::uint64_t n) { return chat_body(n); };
//   plan.on_result = [](LoadResult&& result) { ... };
//   DW_TRY(run_load(plan));
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/load_answer.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"

namespace deepwell::apps {

struct LoadTarget {
  std::string host;  // a name or an address, without brackets
  std::uint16_t port = 80;
  std::string path = "/v1";  // before /chat/completions and /streams/{id}
  std::string api_key;
};

/// "http://HOST[:PORT][/PATH]"; a path that does not end in a version ("/v1") gets "/v1". Error:
/// kInvalidArgument.
Result<LoadTarget> parse_load_url(const std::string& url);

/// How the client of one stream reads.
struct LoadReader {
  std::uint32_t max_bytes_per_s = 0;     // slower than the stream may be; 0: as it comes
  std::uint32_t leave_after_events = 0;  // closes the connection then, for good; 0: never
};

enum class LoadEnd : std::uint8_t {
  kDone,       // [DONE] came
  kRefused,    // a status other than 200
  kError,      // an error event came
  kCut,        // the connection broke, and with re-attaching did not come back within the limit
  kMalformed,  // not HTTP, not events, not JSON
  kTimedOut,   // it took longer than the limit of an answer
  kLeft,       // the client left as LoadReader says
};
std::string_view load_end_name(LoadEnd end);

struct LoadResult {
  std::uint64_t number = 0;  // of the request, from 0
  LoadEnd end = LoadEnd::kCut;
  int status = 0;  // HTTP; 0: none came
  LoadAnswer answer;
  std::string message;  // why it did not end with [DONE]
  std::uint32_t n_events = 0;
  std::uint32_t n_token_events = 0;
  std::uint32_t n_duplicates = 0;  // events whose cursor was not behind the last one's
  std::uint32_t n_breaks = 0;      // connections that ended before [DONE]
  std::uint32_t n_reattached = 0;  // breaks after which the stream went on
  std::uint32_t n_resent = 0;  // requests sent again, because no answer had begun or it was refused
  SteadyTime due;  // when the request was to be sent; with a rate the wait for a free place counts
  SteadyTime ended;
  std::uint32_t client = 0;                          // which of the streams at once it was
  SteadyTime gap_began;                              // of the longest gap
  std::chrono::nanoseconds time_to_first_token{-1};  // from `due`; negative: no token came
  std::chrono::nanoseconds longest_gap{0};           // between two events that carry tokens
  std::vector<std::uint32_t> gaps_us;                // all of these gaps, in order
};

struct LoadPlan {
  static constexpr std::uint64_t kAmid = UINT64_MAX;

  LoadTarget target;
  std::uint32_t n_streams = 1;  // at once; with a rate: at most
  std::uint64_t n_total = 0;    // requests in all; 0: until is_over
  double rate_per_s =
      0;  // open loop: requests start at that pace, whatever the server does; 0: closed loop
  std::chrono::milliseconds answer_limit{3'600'000};

  /// Goes on after a broken connection with GET /v1/streams/{id}, and sends requests whose answer had not begun
  /// again under the same Idempotency-Key; likewise what was refused with 503.
  bool use_reattach = false;
  std::chrono::milliseconds retry_interval{50};
  std::chrono::milliseconds retry_limit{60'000};  // for one break

  /// One request more, numbered kAmid, is sent that long after the first: how it and the others bear each other.
  /// 0: none. It needs n_total.
  std::chrono::milliseconds amid_after{0};

  /// The JSON body of the n-th request.
  std::function<std::string(std::uint64_t number)> body;
  std::function<LoadReader(std::uint64_t number)> reader;  // empty: everybody reads as it comes
  std::function<void(LoadResult&&)> on_result;
  /// Asked all the time: no further request is started once it is true; what runs is finished. May be empty if
  /// n_total is set.
  std::function<bool()> is_over;
  /// Asked all the time: everything is given up once it is true, without results. May be empty.
  std::function<bool()> is_cancelled;
  /// How many streams run (the answer has begun) and how many requests are under way, after each change. May be
  /// empty.
  std::function<void(std::uint32_t n_running, std::uint32_t n_open)> on_change;
};

/// Runs until every answer has ended; callbacks come from this thread. Errors: kInvalidArgument (no such host),
/// kResourceExhausted (too few file descriptors), kCancelled. A server that refuses or breaks connections is a
/// result, not an error.
Status run_load(const LoadPlan& plan);

/// Raises the soft limit of file descriptors so that so many streams fit. Error: kResourceExhausted.
Status allow_streams(std::uint32_t n_streams);

}  // namespace deepwell::apps
