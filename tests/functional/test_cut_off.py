# Workers that fall silent without a reset: their link is cut, or a cgroup freezes them. Whoever they are, their answers
# go on elsewhere, it is noticed in time, and when they wake up nothing that they still say is heard.
#
# Times are printed; what is asserted leaves room for a loaded machine.
import json
import os
import subprocess
import tempfile
import time

import pytest

from cut_off import Freezer, Island, make_certificates, need_root_and
from test_unbroken import Processes, expect_equal, letters, named, together

N_STREAMS = int(os.environ.get("DEEPWELL_STREAMS", "40"))
FIRST_REMOTE = 1000
SLACK_S = 1.0  # of a loaded machine


def states(server):
    """Of the workers as the front sees them, by index."""
    return {worker["index"]: worker["state"] for worker in json.loads(server.text("/healthz?deep=1"))["workers"]}


def seconds_until(is_so, limit_s=15):
    begin = time.monotonic()
    while not is_so():
        assert time.monotonic() - begin < limit_s
        time.sleep(0.01)
    return time.monotonic() - begin


class Remote:
    """A worker in a network namespace of its own."""

    def __init__(self, program, island, tls):
        self.address = f"{island.there}:9000"
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", island.name, program, "worker", "--synthetic", "--synthetic-pace-us", "10000",
             "--parallel", "256", "--listen", self.address, *tls], stdout=self.log, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def freezer():
    need_root_and()
    made = Freezer()
    yield made
    made.remove()


@pytest.fixture
def remote_system(tmp_path):
    """Two remote workers on islands, and a server that has no others."""
    need_root_and("ip", "openssl")
    program = os.environ.get("DEEPWELL_BIN")
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    islands = [Island(), Island()]
    running = []
    try:
        tls = make_certificates(tmp_path, [island.there for island in islands])
        running += [Remote(program, island, tls) for island in islands]
        wanted = [word for remote in running for word in ("--worker", remote.address)]
        server = named(Processes([program, "serve", "--synthetic", "--workers", "0", *wanted, *tls], tmp_path))
        running.append(server)
        seconds_until(lambda: len([state for state in states(server).values() if state == "ready"]) == 2)
        yield server, islands, running[:2]
    finally:
        for process in reversed(running):
            process.stop()
        for island in islands:
            island.remove()


def is_away(server, index):
    return states(server).get(index) not in ("ready", "busy")


def test_answers_move_when_the_link_to_their_worker_is_cut(remote_system):
    server, islands, _ = remote_system
    noticed_s = []

    def cut(_):
        time.sleep(1)
        islands[0].cut()
        noticed_s.append(seconds_until(lambda: is_away(server, FIRST_REMOTE)))
        time.sleep(1.5)
        islands[0].mend()  # what the worker said meanwhile arrives now

    bodies = [letters(i % 5, i % 3, 600) for i in range(N_STREAMS)]
    answers = together(server, bodies, cut)
    print(f"\nthe cut link was noticed after {noticed_s[0]:.2f} s")
    assert noticed_s[0] < 1 + SLACK_S
    seconds_until(lambda: not is_away(server, FIRST_REMOTE), 30)
    expect_equal(server, bodies, answers)


def test_answers_move_when_their_remote_worker_is_frozen(remote_system, freezer):
    server, _, workers = remote_system
    noticed_s = []

    def freeze(_):
        time.sleep(1)
        freezer.freeze(workers[0].process.pid)
        noticed_s.append(seconds_until(lambda: is_away(server, FIRST_REMOTE)))
        time.sleep(1.5)
        freezer.thaw()

    bodies = [letters(i % 5, i % 3, 600) for i in range(N_STREAMS)]
    answers = together(server, bodies, freeze)
    print(f"\nthe frozen remote worker was noticed after {noticed_s[0]:.2f} s")
    assert noticed_s[0] < 1 + SLACK_S
    seconds_until(lambda: not is_away(server, FIRST_REMOTE), 30)
    expect_equal(server, bodies, answers)


@pytest.mark.parametrize("n_workers", [2, 1])
def test_a_frozen_worker_is_replaced(tmp_path, freezer, n_workers):
    program = os.environ.get("DEEPWELL_BIN")
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    server = named(Processes([program, "serve", "--synthetic", "--synthetic-pace-us", "10000", "--workers", str(n_workers),
                              "--parallel", "256"], tmp_path))
    try:
        victim = server.children("worker")[0]
        gone_s = []

        def freeze(_):
            time.sleep(1)
            freezer.freeze(victim["pid"])
            gone_s.append(seconds_until(
                lambda: victim["epoch"] not in {row["epoch"] for row in server.children("worker")}))

        bodies = [letters(i % 5, i % 3, 400) for i in range(N_STREAMS)]
        answers = together(server, bodies, freeze)
        print(f"\nthe frozen one of {n_workers} was replaced after {gone_s[0]:.2f} s")
        # The kernel says that it is frozen, so also the only one is replaced after 1 s and not after 3.
        assert gone_s[0] < 1 + SLACK_S
        expect_equal(server, bodies, answers)
    finally:
        server.stop()
