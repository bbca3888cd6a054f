// UniqueFunction<R(Args...)>: a callable that may hold move-only captures (std::move_only_function
// is C++23).
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "base/check.hpp"

namespace deepwell {

template <class Signature>
class UniqueFunction;

/// Owns one callable. Empty when default-constructed or moved from; calling an empty one aborts.
template <class R, class... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() = default;
  UniqueFunction(std::nullptr_t) {}  // NOLINT(*-explicit-*)

  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, UniqueFunction> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
      UniqueFunction(F&& f)  // NOLINT(*-explicit-*)
      : callable_(std::make_unique<Holder<std::decay_t<F>>>(std::forward<F>(f))) {}

  explicit operator bool() const noexcept { return callable_ != nullptr; }

  R operator()(Args... args) {
    DW_CHECK(callable_ != nullptr, "call of an empty UniqueFunction");
    return callable_->call(std::forward<Args>(args)...);
  }

 private:
  struct Callable {
    virtual ~Callable() = default;
    virtual R call(Args... args) = 0;
  };
  template <class F>
  struct Holder final : Callable {
    explicit Holder(F&& f) : function(std::move(f)) {}
    explicit Holder(const F& f) : function(f) {}
    R call(Args... args) override { return function(std::forward<Args>(args)...); }
    F function;
  };

  std::unique_ptr<Callable> callable_;
};

}  // namespace deepwell
