// Cancellation: a source asks work to stop, tokens are polled or carry callbacks. Names for the
// standard's own.
#pragma once

#include <stop_token>

namespace deepwell {

/// Asks: `request_stop()` from any thread, once; later calls do nothing. Runs the callbacks on the
/// calling thread.
using CancelSource = std::stop_source;

/// Is asked: `stop_requested()` is one atomic load. A default-constructed token is never cancelled.
using CancelToken = std::stop_token;

/// `CancelCallback on_cancel(token, [&] { ... });` calls at once if already cancelled, else on the
/// thread that cancels. Its destructor waits for a callback that is running on another thread, so
/// the callback must not block.
template <class F>
using CancelCallback = std::stop_callback<F>;

}  // namespace deepwell
