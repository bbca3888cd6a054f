// Budget: what one render may cost, so that a hostile template ends with an error and never hangs or fills memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/concat.hpp"
#include "base/result.hpp"

namespace deepwell::service::jinja {

/// The defaults let conversations of tens of thousands of messages pass.
struct Limits {
  std::uint64_t max_work = 32'000'000;        // evaluated nodes + copied values + built bytes / 16
  std::size_t max_output_bytes = 64U << 20U;  // of the rendered text, and of any single string
  std::size_t max_depth = 800;                // nested evaluations, macro calls included
  std::size_t max_range = 100'000;            // items of range(), as jinja2's sandbox
};

/// Deepest nesting of a value that a variable may hold, and of JSON that is read.
inline constexpr std::size_t kMaxValueDepth = 100;

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  const Limits& limits() const { return limits_; }

  Status spend(std::uint64_t work) {
    work_ += work;
    if (work_ <= limits_.max_work) return {};
    return Error{Code::kResourceExhausted, concat("the template needs more than ", limits_.max_work,
                                                  " steps; simplify it or send fewer messages")};
  }

  Status spend_items(std::size_t n_items) { return spend(2 * static_cast<std::uint64_t>(n_items)); }

  /// Asks before a string of this many bytes is built.
  Status spend_bytes(std::size_t n_bytes) {
    if (n_bytes > limits_.max_output_bytes) {
      return Error{Code::kResourceExhausted, concat("the template builds a text of more than ",
                                                    limits_.max_output_bytes, " bytes")};
    }
    return spend(1 + n_bytes / 16);
  }

  /// A search for `needle_bytes` in `haystack_bytes` may compare that often in the worst case.
  Status spend_search(std::size_t haystack_bytes, std::size_t needle_bytes) {
    return spend(1 + haystack_bytes / 16 * (1 + needle_bytes / 64));
  }

 private:
  Limits limits_;
  std::uint64_t work_ = 0;
};

}  // namespace deepwell::service::jinja
