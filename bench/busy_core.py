# A loop that never sleeps, pinned to a core: the neighbour of `--busy-core`.
import contextlib
import os
import signal


@contextlib.contextmanager
def busy_core(core):
    """Keeps the core busy inside the `with`; None: does nothing."""
    if core is None:
        yield
        return
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {core})
        while True:
            pass
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
