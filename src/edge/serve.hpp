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
#include "edge/balance_report.hpp"
#include "engine/runtime/generator.hpp"
#include "service/auth/key_ring.hpp"
#include "service/store/store.hpp"

namespace deepwell::edge {

/// What somebody asked of a running server.
enum class StopRequest : std::uint8_t {
  kNone,
  kDrain,  // finish what runs, refuse what is new, leave
  // As kDrain, but another server accepts on the same socket: stop accepting at once, and answer
  // what still comes on open connections.
  kHandOver,
  kNow,  // leave
};

/// What a start-up line tells.
struct Listening {
  std::string url;         // "http://127.0.0.1:8080"
  std::string api_base;    // "http://127.0.0.1:8080/v1"
  std::string first_curl;  // a command to try; with $DEEPWELL_API_KEY in place of a key
  std::string openness;    // one sentence: who can reach the server, and whether a key is asked for
};

/// Whether there is a model to serve, and if not, how far its loading has come.
struct Readiness {
  bool is_ready = true;
  double progress = 0.0;      // 0 to 1
  std::optional<double> eta;  // seconds until ready, as far as anybody can tell
  std::string text;           // "loading qwen2.5-coder:0.5b"
};

/// One worker, as /healthz?deep=1 shows it.
struct WorkerReport {
  std::uint32_t index = 0;
  std::uint64_t epoch = 0;
  std::string state;  // loading, ready, busy, stalled, draining, down
  double progress = 0.0;
  std::uint32_t n_running = 0;
  std::uint32_t n_waiting = 0;
  std::int64_t last_token_age_ms = 0;
  bool is_slow = false;  // its tokens come much later than its peers': it gets less
};

/// How the journal keeps what an answer needs to go on after this process.
struct JournalOptions {
  std::string path;  // of the database file; empty: no journal, answers end with the process
  service::Durability durability = service::Durability::kProcess;
  std::chrono::seconds retention{3600};  // of an ended answer
  std::uint64_t max_bytes =
      256ULL * 1024 * 1024;  // of what answers hold; the oldest ended go first
};

struct ServeOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free port
  // >= 0: an open listening socket to use instead of host and port; the server owns it from now on.
  int listen_fd = -1;
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
  std::uint32_t max_connections = 16'384;  // beyond: 503 with Retry-After
  std::chrono::seconds request_timeout{3600};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds ping_interval{15'000};
  // So often a stream that waits for its turn is told its place.
  std::chrono::milliseconds queue_interval{2'000};
  // Work is pending and no layer was computed for so long: not ready any more.
  std::chrono::milliseconds stall_limit{30'000};
  std::chrono::seconds drain_timeout{300};
  JournalOptions journal;
  std::string front_id;  // names this server in the journal; empty: one is drawn
  // Servers known to be dead: their unfinished answers go on here.
  std::vector<std::string> dead_fronts;
  // How long a streamed answer that nobody reads goes on.
  std::chrono::milliseconds reattach_grace{10'000};
  // Prepares conversations' next turns while nobody waits.
  bool use_turn_cache = false;
  // Generations computed at once and generations that may wait for their turn, as the generator has
  // it; 0: not known, only the generator itself refuses.
  std::uint32_t n_parallel = 0;
  std::uint32_t max_waiting = 0;
  // Of the generations that may wait, so many may be one tenant's; 0: half of them when there are
  // several tenants, else all.
  std::uint32_t max_waiting_per_tenant = 0;

  unsigned n_loops = 2;
  unsigned n_pool_threads = 2;

  /// Asked often and from any thread until it says ready, then never again; null: ready at once.
  /// Before that the generator is not touched, and whoever wants a model is told to wait.
  std::function<Readiness()> readiness;
  /// The workers behind the generator, for /healthz?deep=1; null: none to tell of. Thread-safe.
  std::function<std::vector<WorkerReport>()> workers;
  /// What became of answers between those; null: there is nothing to balance. Thread-safe.
  std::function<BalanceReport()> balance;
  /// Called once, when the model is ready and requests are answered; apps prints from it.
  std::function<void(const Listening&)> on_listening;
  /// Waits at most this long for somebody to ask for a stop, and says what was asked (StopSignals
  /// does this).
  std::function<StopRequest(std::chrono::milliseconds)> wait_stop;
  /// Called once, when a drain has ended: nothing runs any more, or the time is up.
  std::function<void()> on_drained;
};

/// Checks the options without starting anything. Errors: kFailedPrecondition (beyond loopback
/// without a key), kInvalidArgument, kNotFound (key file).
Result<service::KeyRing> check_serve_options(const ServeOptions& options, Log& log);

/// Listens and serves until asked to stop. Errors: those of check_serve_options(), of
/// net::Server::start(), of the model's chat template. Success means that it was asked to leave and
/// left.
Status serve(const ServeOptions& options, engine::Generator& generator, Log& log);

}  // namespace deepwell::edge
