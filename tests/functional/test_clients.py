# The wrappers of clients/ under the official clients, against a real server whose front dies:
# the answer equals the undisturbed one.
import asyncio
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import openai
import pytest

from conftest import Server

ROOT = pathlib.Path(__file__).parents[2]
NODE = pathlib.Path(__file__).parent / "node"
sys.path.insert(0, str(ROOT / "clients/python"))
httpx = pytest.importorskip("httpx", reason="httpx is not installed: run tests/functional/setup.sh")
import deepwell_client  # noqa: E402  it needs httpx

PACE_US = 3000
N_TOK = 300  # each a letter: 0.9 s
QUESTION = {"model": "synthetic", "messages": [{"role": "user", "content": "hi"}], "max_tokens": N_TOK, "seed": 11}
STREAMED = {**QUESTION, "stream": True, "stream_options": {"include_usage": True}}


class Cluster(Server):
    """The supervisor with a front and two synthetic workers. Its clients end before it, as their open connections count."""

    def __init__(self, command):
        super().__init__(command)
        self.clients = []

    def client(self, **options):
        self.clients.append(super().client(**options))
        return self.clients[-1]

    def stop(self):
        for client in self.clients:
            client.close()
        super().stop()

    def pids(self, role):
        """Of the supervisor's children with that command."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                words = (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue  # it has ended
            if int(parent) == self.process.pid and len(words) > 1 and words[1] == role:
                found.append(int(folder.name))
        return found

    def send_front(self, number):
        """To every front; the successor of one that was hit a moment ago may be still on its way."""
        deadline = time.monotonic() + 10
        while not (pids := self.pids("front")):
            assert time.monotonic() < deadline, "no front came back"
            time.sleep(0.01)
        for pid in pids:
            os.kill(pid, number)


@pytest.fixture
def cluster(tmp_path):
    """A fresh one for each test: a front that is killed often in a few seconds is started again more and more slowly."""
    program = os.environ.get("DEEPWELL_BIN")
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    usage = subprocess.run([program, "serve", "--help"], capture_output=True, text=True, timeout=20).stdout
    if "--reattach-grace" not in usage or "--synthetic " not in usage:
        pytest.skip("this program has no /v1/streams")
    flags = ["--synthetic", "--workers", "2", "--synthetic-pace-us", str(PACE_US), "--home", str(tmp_path),
             "--journal", str(tmp_path / "journal.sqlite"), "--run-dir", str(tmp_path / "run")]
    running = Cluster([program, "serve", *flags])
    yield running
    running.stop()


def surviving(cluster, **options):
    return cluster.client(http_client=deepwell_client.http_client(), **options)


def gather(chunks, on_progress=lambda n_letters: None):
    """(contents, finish reasons, usage) of a streamed answer, by choice; `on_progress` is called after each chunk."""
    contents, finishes, usage, ids = {}, {}, None, set()
    for chunk in chunks:
        ids.add(chunk.id)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            contents[choice.index] = contents.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                assert choice.index not in finishes, "a finish reason came twice"
                finishes[choice.index] = choice.finish_reason
        on_progress(len(contents.get(0, "")))
    assert len(ids) == 1, "another answer went on"
    return contents, finishes, usage.model_dump()


@pytest.fixture
def expected(cluster):
    """The undisturbed answer, by the client as it comes."""
    answer = gather(cluster.client().chat.completions.create(**STREAMED))
    assert len(answer[0][0]) == N_TOK
    return answer


class Once:
    """Sends a signal to the front when the answer has so many letters, once for each of `marks`."""

    def __init__(self, cluster, number, *marks):
        self.cluster, self.number, self.left = cluster, number, list(marks)

    def __call__(self, n_letters):
        if self.left and n_letters >= self.left[0]:
            self.left.pop(0)
            self.cluster.send_front(self.number)


@pytest.mark.parametrize("marks", [(0,), (1,), (150,), (299,), (300,), (20, 120, 220)], ids=str)
def test_stream_outlives_its_front(cluster, expected, marks):
    kill = Once(cluster, signal.SIGKILL, *marks)
    answer = gather(surviving(cluster).chat.completions.create(**STREAMED), kill)
    assert answer == expected
    assert not kill.left


def test_stream_outlives_a_front_that_hangs(cluster, expected):
    stop = Once(cluster, signal.SIGSTOP, 100)
    assert gather(surviving(cluster).chat.completions.create(**STREAMED), stop) == expected
    assert not stop.left


def test_many_async_streams_of_several_choices_outlive_their_front(cluster):
    asked = {**STREAMED, "n": 2}
    expected = gather(cluster.client().chat.completions.create(**asked))

    async def one(client):
        stream = await client.chat.completions.create(**asked)
        return gather([chunk async for chunk in stream])

    async def all_of_them():
        client = cluster.async_client(http_client=deepwell_client.async_http_client())
        answers = asyncio.gather(*(one(client) for _ in range(8)))
        await asyncio.sleep(0.4)
        cluster.send_front(signal.SIGKILL)
        told = await answers
        await client.close()
        return told

    assert asyncio.run(all_of_them()) == [expected] * 8


def test_whole_answer_outlives_its_front(cluster, expected):
    killer = threading.Timer(0.3, lambda: cluster.send_front(signal.SIGKILL))
    killer.start()
    answer = surviving(cluster).chat.completions.create(**QUESTION)
    killer.join()
    assert answer.choices[0].message.content == expected[0][0]
    assert answer.usage.model_dump() == expected[2]


def test_request_sent_while_the_front_is_dead_is_answered(cluster, expected):
    for _ in range(2):
        cluster.send_front(signal.SIGKILL)
        assert gather(surviving(cluster, max_retries=2).chat.completions.create(**STREAMED)) == expected


def test_unmodified_client_sees_an_error_and_can_read_the_rest_by_hand(cluster, expected):
    """As docs/clients.md says."""
    kill = Once(cluster, signal.SIGKILL, 50)
    seen, stream_id = "", ""
    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):  # the latter from clients before 3.0
        for chunk in cluster.client().chat.completions.create(**STREAMED):
            stream_id = chunk.id
            seen += chunk.choices[0].delta.content or "" if chunk.choices else ""
            kill(len(seen))
    assert 50 <= len(seen) < N_TOK

    def read(*headers):
        command = ["curl", "-sN", "--retry", "5", "--retry-connrefused", f"{cluster.url}/v1/streams/{stream_id}", *headers]
        events = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.split("\n\n")
        chunks = [json.loads(line[6:]) for event in events for line in event.split("\n") if line.startswith("data: {")]
        assert events[-2].endswith("data: [DONE]")
        return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])

    assert seen + read("-H", f"Last-Event-ID: {len(seen)}") == expected[0][0]
    assert read() == expected[0][0]


@pytest.mark.parametrize("pattern", ["a stream outlives its front", "a stream outlives a front that hangs", "a whole answer"])
def test_node_client(cluster, pattern):
    if not shutil.which("node") or not (NODE / "node_modules" / "openai").exists():
        pytest.skip("the Node client is not installed: run tests/functional/setup.sh")
    env = {**os.environ, "DEEPWELL_URL": cluster.url, "DEEPWELL_PID": str(cluster.process.pid)}
    run = subprocess.run(["node", "--test", "--test-name-pattern", pattern, "reattach.test.mjs"], cwd=NODE, env=env,
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and re.search(r"^# pass [1-9]", run.stdout, re.MULTILINE), run.stdout + run.stderr
