# Answers that go on: workers and fronts die, stall and are replaced while people read.
#
# Each answer under fire is compared with the undisturbed one: content, finish reason, usage (without the cached
# tokens, which depend on what ran before).
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import Server, model_command

class Processes(Server):
    """A server started by `deepwell serve`, whose children can be found."""

    def __init__(self, command, tmp_path):
        self.program = command[0]
        self.run_dir = str(tmp_path / "run")
        super().__init__([*command, "--home", str(tmp_path), "--run-dir", self.run_dir],
                         {"XDG_DATA_HOME": str(tmp_path)})

    def children(self, kind):
        out = subprocess.run([self.program, "ps", "--run-dir", self.run_dir], capture_output=True, text=True, check=True).stdout
        rows = [dict(word.split("=", 1) for word in line.split()[1:]) for line in out.splitlines() if line.split()[0] == kind]
        return [row for row in rows if int(row.get("pid", 0)) > 0]

    def kill(self, kind, number=signal.SIGKILL):
        os.kill(int(random.choice(self.children(kind))["pid"]), number)

    def incidents(self):
        folder = os.path.join(self.run_dir, "incidents")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


@pytest.fixture
def serve(tmp_path):
    started = []

    def start_one(*flags, with_model=False):
        program = os.environ.get("DEEPWELL_BIN")
        if not program:
            pytest.skip("DEEPWELL_BIN is not set")
        command = model_command() if with_model else [program, "serve", "--synthetic", "--synthetic-pace-us", "10000"]
        started.append(Processes([*command, *flags], tmp_path))
        return started[-1]

    yield start_one
    for running in started:
        running.stop()


class Answer:
    def __init__(self):
        self.text, self.finish, self.usage, self.error, self.is_done = "", None, None, None, False
        self.id = self.cursor = self.seed = None
        self.seen = []

    def read(self, reply):
        event = None
        for raw in reply:
            line = raw.decode().rstrip("\r\n")
            if line.startswith("id:"):
                self.cursor = line[3:].strip()
                self.seen.append(self.cursor)
            elif line.startswith("event:"):
                event = line[6:].strip()
            elif line == "data: [DONE]":
                self.is_done = True
                return
            elif line.startswith("data:"):
                self.take(json.loads(line[5:]), event)
            elif not line:
                event = None

    def take(self, data, event):
        if event == "error":
            self.error = data["error"]
            return
        self.id, self.seed = data["id"], data.get("seed", self.seed)
        if data.get("usage"):
            self.usage = data["usage"]
        for choice in data["choices"]:
            self.text += (choice["delta"].get("reasoning_content") or "") + (choice["delta"].get("content") or "")
            self.finish = choice["finish_reason"] or self.finish

    def facts(self):
        usage = {k: v for k, v in self.usage.items() if k.endswith("_tokens")} if self.usage else None
        return self.text, self.finish, usage


def ask(server, body, reattach=False):
    """Streams an answer; with `reattach` as an EventSource would, until it is whole."""
    answer = Answer()
    body = {"model": "any", "stream": True, "stream_options": {"include_usage": True}, **body}
    body["model"] = server.name
    request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                answer.read(reply)
        except urllib.error.HTTPError as error:
            answer.error = json.load(error)["error"] if error.code not in (503, 504) or not reattach else None
        except OSError as error:
            if not reattach or answer.id is None:
                answer.error = answer.error or repr(error)
        if answer.is_done or answer.error or not reattach or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)
        request = urllib.request.Request(f"{server.url}/v1/streams/{answer.id}", headers={"Last-Event-ID": answer.cursor})


def together(server, bodies, disturb=None, reattach=False):
    answers = [None] * len(bodies)

    def one(i):
        answers[i] = ask(server, bodies[i], reattach)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    if disturb:
        disturb(lambda: any(thread.is_alive() for thread in threads))
    for thread in threads:
        thread.join()
    return answers


def expect_equal(server, bodies, answers):
    """Unseeded ones are asked again with the seed that was drawn for them."""
    for answer in answers:
        assert answer.error is None, answer.error
        assert answer.is_done
    quiet = {json.dumps({**body, "seed": answer.seed}, sort_keys=True): None for body, answer in zip(bodies, answers)}
    again = dict(zip(quiet, together(server, [json.loads(key) for key in quiet])))
    for body, answer in zip(bodies, answers):
        assert answer.facts() == again[json.dumps({**body, "seed": answer.seed}, sort_keys=True)].facts()
        assert len(set(answer.seen)) >= len(answer.seen) - 1  # the role chunk and the first text may share a cursor


def letters(n, seed, n_tokens=150):
    return {"messages": [{"role": "user", "content": f"question {n}"}], "max_tokens": n_tokens, "seed": seed}


def kill_now_and_then(server, kind, n, pause_s, number=signal.SIGKILL):
    def disturb(is_running):
        for _ in range(n):
            time.sleep(pause_s)
            if not is_running():
                return
            server.kill(kind, number)

    return disturb


def named(server):
    server.name = server.model()
    return server


def test_answers_survive_workers_that_are_killed(serve):
    server = named(serve("--workers", "2", "--parallel", "64"))
    bodies = [letters(i % 5, i % 3) for i in range(40)]
    answers = together(server, bodies, kill_now_and_then(server, "worker", 3, 0.5))
    expect_equal(server, bodies, answers)
    assert any("worker" in name for name in server.incidents())


def test_answers_survive_a_stopped_worker_which_is_replaced(serve):
    server = named(serve("--workers", "2", "--parallel", "64"))
    before = {row["epoch"] for row in server.children("worker")}
    bodies = [letters(i % 5, i % 3, 300) for i in range(20)]
    answers = together(server, bodies, kill_now_and_then(server, "worker", 1, 0.5, signal.SIGSTOP))
    expect_equal(server, bodies, answers)
    assert {row["epoch"] for row in server.children("worker")} != before


def test_the_only_worker_comes_back_and_goes_on(serve):
    server = named(serve("--workers", "1", "--parallel", "64"))
    bodies = [letters(i % 5, i % 3) for i in range(20)]
    answers = together(server, bodies, kill_now_and_then(server, "worker", 2, 0.6))
    expect_equal(server, bodies, answers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_readers_come_back_after_the_front_died(serve, number):
    server = named(serve("--workers", "2", "--parallel", "64"))
    workers = {row["pid"] for row in server.children("worker")}
    bodies = [letters(i % 5, i % 3, 300) for i in range(20)]
    answers = together(server, bodies, kill_now_and_then(server, "front", 1, 0.8, number), reattach=True)
    expect_equal(server, bodies, answers)
    assert {row["pid"] for row in server.children("worker")} == workers


def test_a_request_that_crashes_workers_is_given_up_alone(serve):
    server = named(serve("--workers", "2", "--parallel", "64", "--poison-token", "1"))
    bodies = [letters(i % 5, i % 3, 60) for i in range(60)]
    poison = {**letters(0, 0), "messages": [{"role": "user", "content": "poison \x01"}]}
    answers = together(server, bodies[:30] + [poison] + bodies[30:])
    given_up = answers.pop(30)
    assert given_up.error["code"] == "engine_crashed"
    expect_equal(server, bodies, answers)
    assert 2 <= len(server.incidents()) <= 3


def test_reload_refuses_and_cuts_nobody(serve):
    server = named(serve("--workers", "1", "--parallel", "64"))
    bodies = [letters(i % 5, i % 3, 60) for i in range(30)]

    def reload(is_running):
        for _ in range(2):
            subprocess.run([server.program, "reload", "--run-dir", server.run_dir], check=True, capture_output=True, timeout=120)

    answers = together(server, bodies, reload)
    expect_equal(server, bodies, answers)


def test_an_idempotency_key_runs_once_also_over_a_front_that_died(serve):
    server = named(serve("--workers", "1"))
    body = {"model": server.name, **letters(1, 1, 100)}
    headers = {"Content-Type": "application/json", "Idempotency-Key": "only-once"}

    def post():
        request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    first = post()
    server.kill("front")
    deadline = time.monotonic() + 20
    second = None
    while second is None and time.monotonic() < deadline:
        try:
            second = post()
        except OSError:
            time.sleep(0.05)
    assert second["id"] == first["id"]
    assert second["choices"] == first["choices"]


MIXED = [
    {"temperature": 0},
    {"temperature": 0.8, "seed": 7},
    {"temperature": 0.8},
    {"temperature": 0.8, "seed": 11, "stop": [" the ", "\n\n"]},
    {"temperature": 0.7, "seed": 13, "frequency_penalty": 0.6, "presence_penalty": 0.4},
]


def mixed(n, n_tokens):
    questions = ["Tell me about the sea.", "Write a short story about a fox.", "Why is the sky blue?", "List three fruits."]
    return [{"messages": [{"role": "user", "content": questions[i % 4]}], "max_tokens": n_tokens, **MIXED[i % 5]} for i in range(n)]


@pytest.mark.parametrize("n_workers,n_streams", [(2, int(os.environ.get("DEEPWELL_STREAMS", "40"))), (1, 8)])
def test_a_real_model_goes_on_with_the_same_tokens(serve, n_workers, n_streams):
    server = named(serve("--workers", str(n_workers), "--threads", "1", with_model=True))
    bodies = mixed(n_streams, 48)
    answers = together(server, bodies, kill_now_and_then(server, "worker", 3, 1.0))
    expect_equal(server, bodies, answers)


def test_a_real_model_loses_one_poisoned_answer_and_no_other(serve):
    n = int(os.environ.get("DEEPWELL_STREAMS", "40"))
    program, poison = os.environ.get("DEEPWELL_BIN"), " arsenic"
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    ids = json.loads(subprocess.run([program, "tokenize", "--json", "-m", model_command()[3], poison], check=True,
                                    capture_output=True, text=True).stdout)
    assert len(ids) == 1
    server = named(serve("--workers", "2", "--threads", "1", "--poison-token", str(ids[0]), with_model=True))
    bodies = mixed(n - 1, 32)
    fatal = {"messages": [{"role": "user", "content": f"Is{poison} good for you?"}], "max_tokens": 32, "temperature": 0}
    answers = together(server, bodies[:n // 2] + [fatal] + bodies[n // 2:])
    given_up = answers.pop(n // 2)
    assert given_up.error["code"] == "engine_crashed" and not given_up.is_done
    n_crashes = len(server.incidents())
    print(f"\n{n} answers, {n_crashes} crashes")
    assert 2 <= n_crashes <= 3
    expect_equal(server, bodies, answers)
