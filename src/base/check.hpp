// DW_CHECK: aborts on a programmer's bug. Input never reaches it: input errors are Results.
#pragma once

namespace deepwell {

/// Prints file, line, condition and message to stderr, then aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const char* message);

}  // namespace deepwell

#define DW_CHECK(condition, message)                                     \
  do {                                                                   \
    if (!(condition)) [[unlikely]] {                                     \
      ::deepwell::check_failed(__FILE__, __LINE__, #condition, message); \
    }                                                                    \
  } while (false)
