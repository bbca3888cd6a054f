# Nobody reads the server's log: a pipe that is full, as behind a pager or a terminal held with Ctrl-S.
import fcntl
import os
import signal
import subprocess
import time

import pytest

from test_unbroken import Processes, expect_equal, letters, named, together

F_SETPIPE_SZ = 1031


class Unread(Processes):
    """Its log goes into a small pipe, which is read at the end only."""

    def __init__(self, command, tmp_path):
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, F_SETPIPE_SZ, 4096)
        super().__init__(command, tmp_path)

    def fill(self):
        own = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)  # not the description they share
        try:
            while True:
                os.write(own, b"x")
        except BlockingIOError:
            os.close(own)

    def popen(self, command, env):
        return subprocess.Popen(command, stdout=self.writer, stderr=self.writer, env=env)


def test_a_log_that_nobody_reads_stops_no_restart(tmp_path):
    program = os.environ.get("DEEPWELL_BIN")
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    server = named(Unread([program, "serve", "--synthetic", "--synthetic-pace-us", "10000", "--workers", "2", "--parallel",
                           "64"], tmp_path))
    try:
        server.fill()

        def kill(_):
            for _ in range(6):  # each death is several lines of log
                time.sleep(0.4)
                server.kill("worker", signal.SIGKILL)

        bodies = [letters(i % 5, i % 3, 400) for i in range(20)]
        answers = together(server, bodies, kill)
        expect_equal(server, bodies, answers)
        os.set_blocking(server.reader, False)
        os.read(server.reader, 1 << 20)
        server.kill("worker", signal.SIGKILL)
        text, deadline = "", time.monotonic() + 10
        while "were left out: nobody read them" not in text and time.monotonic() < deadline:
            time.sleep(0.1)
            try:
                text += os.read(server.reader, 1 << 20).decode(errors="replace")
            except BlockingIOError:
                pass
        assert "were left out: nobody read them" in text
    finally:
        server.stop()
