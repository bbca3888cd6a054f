// serve(): the HTTP API over a Generator, from listening to the last answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "engine/runtime/generator.hpp"
#include "service/auth/key_ring.hpp"

namespace deepwell::edge {

/// What somebody asked of a running server.
enum class StopRequest : std::uint8_t {
  kNone,
  kDrain,  // finish what runs, refuse what is new, leave
  kNow,    // leave
};

/// What a start-up line tells.
struct Listening {
  std::string url;         // "http://127.0.0.1:8080"
  std::string api_base;    // "http://127.0.0.1:8080/v1"
  std::string first_curl;  // a command to try; with $DEEPWELL_API_KEY in place of a key
  std::string openness;    // one sentence: who can reach the server, and whether a key is asked for
};

struct ServeOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free port
  std::string tls_cert_file;  // PEM; both or neither
  std::string tls_key_file;

  service::KeySource keys;
  bool use_insecure_no_auth = false;  // open beyond this machine without a key
  // Host headers more than loopback and the bound address; "*": any.
  std::vector<std::string> allowed_hosts;
  // Other sites whose pages may call; "*": any.
  std::vector<std::string> allowed_origins;

  // Names that requests may use besides the model's own; the first is shown.
  std::vector<std::string> model_names;

  std::uint64_t max_body_bytes = 8ULL * 1024 * 1024;
  std::chrono::seconds request_timeout{3600};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds ping_interval{15'000};
  // Work is pending and no layer was computed for so long: not ready any more.
  std::chrono::milliseconds stall_limit{30'000};
  std::chrono::seconds drain_timeout{300};
  unsigned n_loops = 2;
  unsigned n_pool_threads = 2;

  /// Called once, when the server accepts connections; apps prints from it.
  std::function<void(const Listening&)> on_listening;
  /// Waits at most this long for somebody to ask for a stop, and says what was asked (StopSignals
  /// does this).
  std::function<StopRequest(std::chrono::milliseconds)> wait_stop;
};

/// Checks the options without starting anything. Errors: kFailedPrecondition (beyond loopback
/// without a key), kInvalidArgument, kNotFound (key file).
Result<service::KeyRing> check_serve_options(const ServeOptions& options, Log& log);

/// Listens and serves until asked to stop. Errors: those of check_serve_options(), of
/// net::Server::start(), of the model's chat template. Success means that it was asked to leave and
/// left.
Status serve(const ServeOptions& options, engine::Generator& generator, Log& log);

}  // namespace deepwell::edge
