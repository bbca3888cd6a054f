// The supervisor of `deepwell serve`: holds the listening socket and the shared memory, starts the
// front and the workers, and starts them again.
//
//   SupervisorOptions options;
//   options.program = "/usr/bin/deepwell";
//   options.arguments = serve_arguments;       // what `serve` was called with, unchanged
//   options.run_directory = "/run/deepwell";
//   options.listen_fd = std::move(socket.fd);  // of open_listen_socket()
//   DW_TRY(supervise(std::move(options), log));
//
// Single-threaded: call it in main's thread before any other thread is started. SIGTERM or SIGINT
// drains, a second one kills; SIGHUP reloads, or drains if our terminal was closed. Why it is built so:
// docs/adr/0006-supervisor-and-children.md.
//
// What a child may rely on: stdin is /dev/null, stdout is the supervisor's, stderr is a pipe to it
// (its last 50 lines go into an incident), and descriptors from 3 on are those named in its arguments
// and no other. It has its own process group, default signal dispositions and an empty mask. When
// receive() on its control channel says kUnavailable, the supervisor is gone and the child must leave
// by itself: nobody else would end it. kDrain asks it to finish what runs and leave; SIGTERM comes when
// nobody needs it any more (a worker gets it once every front has left), and SIGKILL 5 s later. A front
// must tick from its start to its end, whatever else it does: 600 ms of silence are its death.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"
#include "base/scoped_fd.hpp"
#include "cluster/supervisor/roster.hpp"

namespace deepwell::cluster {

struct SupervisorOptions {
  std::string program;  // a path; after a reload the file that lies there then is started. Not
                        // /proc/self/exe, which would name the old file
  std::vector<std::string> arguments;  // passed on to each child behind its subcommand
  std::string run_directory;           // made with mode 0700 if absent; one supervisor at a time
  ScopedFd listen_fd;  // stays open here, so that no connection is refused while the
                       // front is away; closed when the server stops
  std::uint64_t worker_memory_bytes =
      0;  // per worker; 0: no limit. Kept by cgroup v2 if we may write
          // to ours, else only a log line says that it is not kept
  RosterOptions roster;
  /// The arguments of a child; replaceable, so that tests can start helpers. Default: child_arguments().
  std::function<std::vector<std::string>(const SupervisorOptions&, const ChildSpec&)>
      build_arguments;
};

/// `front ARGS... --front-epoch E --listen-fd 3 --control-fd 4`, or `worker ARGS... --worker-index I
/// --worker-epoch E --socket RUN_DIR/worker-I-E.sock --control-fd 3 --crash-fd 4 --kv-fd 5 --image-fd 6`.
std::vector<std::string> child_arguments(const SupervisorOptions& options, const ChildSpec& child);

/// Where a worker listens. The index may repeat (a reload runs two sets side by side), the epoch not.
std::string worker_socket_path(const std::string& run_directory, const ChildSpec& worker);

/// Runs until a signal ends it and everybody has left. Errors: the run directory cannot be used
/// (kAborted: another supervisor does), a child that can never start, kCancelled after a second signal.
Status supervise(SupervisorOptions options, Log& log);

}  // namespace deepwell::cluster
