// Running a piece of a test in a process that may die.
#pragma once

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

namespace deepwell::engine {

/// Starts `body` in a forked child, which ends with status 0 after it. To be called while no other thread runs.
inline pid_t start_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that gives up early leaves nobody behind
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  return child;
}

/// The status of waitpid().
inline int wait_child(pid_t child) {
  int status = -1;
  EXPECT_EQ(child, ::waitpid(child, &status, 0));
  return status;
}

}  // namespace deepwell::engine
