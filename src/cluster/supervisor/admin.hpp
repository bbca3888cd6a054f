// The admin socket: one request line from somebody on this machine, answer lines, end.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.hpp"
#include "base/result.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell::cluster {

/// Who waits for what. A line is a packet (SOCK_SEQPACKET); the mode of the run directory says who may
/// connect. Not thread-safe; the owner's poll loop drives it.
class AdminSocket {
 public:
  static constexpr std::size_t kMaxRequestBytes = 256;
  static constexpr std::size_t kMaxClients = 16;
  static constexpr std::chrono::seconds kRequestLimit{5};

  /// Listens at `path`, which must not exist.
  static Result<AdminSocket> open(const std::string& path);

  /// What the owner's poll() must watch for reading.
  std::vector<int> fds() const;
  /// Accepts, reads requests and hands each to `answer`, which returns the lines; the client is then
  /// disconnected. An empty answer keeps it: it gets what report() says.
  void serve(const std::function<std::vector<std::string>(std::string_view)>& answer,
             SteadyTime now);
  /// To every kept client; `is_last` disconnects them.
  void report(std::string_view line, bool is_last);

 private:
  struct Client {
    ScopedFd fd;
    SteadyTime since;
    bool is_kept = false;
  };
  explicit AdminSocket(ScopedFd listener) : listener_(std::move(listener)) {}
  void accept_clients(SteadyTime now);

  ScopedFd listener_;
  std::list<Client> clients_;
};

/// Asks the supervisor whose run directory this is: "status" or "reload". `on_line` sees each line as
/// it comes. Errors: kUnavailable (none runs there), kDeadlineExceeded, and kFailedPrecondition with
/// what follows "error: " in its last line.
Result<std::vector<std::string>> ask_supervisor(
    const std::string& run_directory, std::string_view request, std::chrono::milliseconds limit,
    const std::function<void(std::string_view)>& on_line = {});

}  // namespace deepwell::cluster
