// Child processes: started with exactly the descriptors they shall have, watched and signalled by
// pidfd (Linux 5.4).
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/scoped_fd.hpp"

namespace deepwell {

struct SpawnRequest {
  std::string program;                 // a path; not looked up in PATH
  std::vector<std::string> arguments;  // without the program's name
  std::vector<int> fds;                // become 3, 4, 5 ... in the child; stay open here
  int stderr_fd = 2;                   // becomes its stderr
};

/// How a process ended: by `signal`, or if that is 0 with `exit_code`.
struct ExitStatus {
  int exit_code = 0;
  int signal = 0;
};

struct ChildProcess {
  int pid = 0;
  ScopedFd pidfd;  // readable once the process has ended
};

/// The child has its own process group (a terminal's Ctrl-C does not reach it), the default
/// disposition of every signal and none blocked, /dev/null as stdin, our stdout, and no other
/// descriptor than those asked for. Error: what exec says, for example kNotFound.
Result<ChildProcess> spawn_process(const SpawnRequest& request);

/// False if the process has ended. Works on stopped processes too; cannot hit another process that
/// got the same pid.
bool signal_process(const ChildProcess& child, int signal_number);

/// Reaps a process that has ended; waits if it has not.
ExitStatus reap_process(const ChildProcess& child);

}  // namespace deepwell
