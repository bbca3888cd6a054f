// Runs another program and reads what it prints, without a shell.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cancel.hpp"
#include "base/result.hpp"

namespace deepwell::service {

struct ChildProcess {
  std::vector<std::string> arguments;  // arguments[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  std::function<Status(std::string_view chunk)>
      on_stdout;                  // an error ends the child and is returned
  std::function<void()> on_tick;  // every 200 ms while it runs
  CancelToken cancel;             // ends the child
};

struct ChildResult {
  int exit_code = 0;       // 128 + n if signal n ended it
  std::string error_tail;  // the last 4 KiB of what it wrote to stderr
};

/// Runs to its end. Errors: kNotFound (no such program), kCancelled, what on_stdout returned.
Result<ChildResult> run_child(const ChildProcess& child);

}  // namespace deepwell::service
