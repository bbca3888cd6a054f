"""A cgroup with a memory limit, of whichever version has the controller. Linux, root."""

import contextlib
import itertools
import os
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_numbers = itertools.count()


def _has_memory(folder: Path) -> bool:
    file = folder / "cgroup.controllers"
    return file.exists() and "memory" in file.read_text().split()


class MemoryGroup:
    def __init__(self, limit_bytes: int):
        """OSError where there is no such controller, or it may not be used."""
        v2 = next((p for p in (CGROUPS, CGROUPS / "unified") if _has_memory(p)), None)
        self.folder = (v2 or CGROUPS / "memory") / f"deepwell-{os.getpid()}-{next(_numbers)}"
        self.version = 2 if v2 else 1
        if not v2 and not (CGROUPS / "memory" / "memory.limit_in_bytes").exists():
            raise OSError("no memory controller")
        if v2:
            with contextlib.suppress(OSError):
                (v2 / "cgroup.subtree_control").write_text("+memory")
        self.folder.mkdir()
        name = "memory.max" if v2 else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(limit_bytes))

    def enter(self):
        """With the calling process, and what it will start."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def n_killed(self) -> int:
        """Processes that were killed for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        lines = (self.folder / name).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def remove(self):
        for _ in range(50):  # its processes may still be leaving
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.1)
