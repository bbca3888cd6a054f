# The wall clock is set an hour ahead and back, for the server and its children alone: nobody may take that for silence,
# a lease that ran out or an answer that is too old. (The drill clock-step sets the clock of the whole machine.)
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import time

import pytest

from test_unbroken import Processes, expect_equal, letters, named, together

HOUR_S = 3600


@pytest.fixture
def clocked(tmp_path):
    """(a server, a function that sets its clock)"""
    program, compiler = os.environ.get("DEEPWELL_BIN"), shutil.which("cc")
    if not program or not compiler:
        pytest.skip("DEEPWELL_BIN is not set" if compiler else "there is no C compiler")
    shim, page = tmp_path / "clock.so", tmp_path / "clock"
    source = pathlib.Path(__file__).with_name("stepped_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)

    def step(seconds):
        with open(page, "r+b" if page.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))

    step(0)
    command = [program, "serve", "--synthetic", "--synthetic-pace-us", "10000", "--workers", "2", "--parallel", "64"]
    os.environ.update(LD_PRELOAD=str(shim), STEPPED_CLOCK=str(page))
    try:
        server = Processes(command, tmp_path)
    finally:
        del os.environ["LD_PRELOAD"], os.environ["STEPPED_CLOCK"]
    yield named(server), step
    server.stop()


@pytest.mark.parametrize("first,second", [(HOUR_S, 0), (-HOUR_S, 0)])
def test_answers_and_processes_survive_a_clock_that_is_set(clocked, first, second):
    server, step = clocked
    before = {row["pid"] for row in server.children("worker") + server.children("front")}

    def set_clock(_):
        time.sleep(0.7)
        step(first)
        time.sleep(1)
        created = server.client().chat.completions.create(
            model=server.name, messages=[{"role": "user", "content": "when"}], max_tokens=1).created
        assert abs(created - (time.time() + first)) < 60, "the clock of the server was not set"
        time.sleep(0.5)
        step(second)

    bodies = [letters(i % 5, i % 3, 400) for i in range(20)]
    answers = together(server, bodies, set_clock)
    assert {row["pid"] for row in server.children("worker") + server.children("front")} == before
    expect_equal(server, bodies, answers)


def test_a_new_front_takes_up_answers_though_the_clock_was_set(clocked):
    server, step = clocked

    def set_clock_and_kill(_):
        time.sleep(0.7)
        step(-HOUR_S)
        server.kill("front", signal.SIGKILL)
        time.sleep(1)
        step(HOUR_S)
        server.kill("front", signal.SIGKILL)

    bodies = [letters(i % 5, i % 3, 400) for i in range(20)]
    answers = together(server, bodies, set_clock_and_kill, reattach=True)
    expect_equal(server, bodies, answers)
