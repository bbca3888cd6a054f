// The one table from error codes to the exit codes of the program.
#pragma once

#include "base/result.hpp"

namespace deepwell::apps {

/// 0 is success. 2: wrong usage, as in most shells' tools; 130: interrupted, as if by SIGINT.
constexpr int exit_code(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kOutOfRange:
      return 2;
    case Code::kNotFound:
      return 3;
    case Code::kDataLoss:
      return 4;
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
      return 5;
    case Code::kResourceExhausted:
      return 6;
    case Code::kFailedPrecondition:
    case Code::kAborted:
    case Code::kAlreadyExists:
      return 7;
    case Code::kPermissionDenied:
    case Code::kUnauthenticated:
      return 8;
    case Code::kUnimplemented:
      return 9;
    case Code::kCancelled:
      return 130;
    case Code::kUnknown:
    case Code::kInternal:
      return 70;
  }
  return 70;
}

}  // namespace deepwell::apps
