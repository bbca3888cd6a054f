# Fixtures: running servers, real (the program and a model file) and synthetic (no model; it can think).
#
#   DEEPWELL_BIN             the program, for example build/dev/deepwell
#   DEEPWELL_TEST_MODELS     a folder with smollm2-135m.gguf
#   DEEPWELL_SYNTHETIC_BIN   deepwell_synthetic_server of the same build
#
# What is not set is skipped.
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import openai
import pytest

MODEL_FILE = "smollm2-135m.gguf"
START_LIMIT_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process of its own; `url` has no path."""

    def __init__(self, command, env=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.NamedTemporaryFile("w+", prefix="deepwell-functional-", suffix=".log", delete=False)
        self.process = self.popen([*command, "--port", str(self.port)], {**os.environ, **(env or {})})
        self.wait_until_ready()

    def popen(self, command, env):
        return subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=env)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server left with {self.process.returncode}:\n{self.output()}")
            if self.status("/readyz") == 200:
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server was not ready after {START_LIMIT_S} s:\n{self.output()}")

    def output(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def status(self, path, headers=None):
        """The HTTP status of a GET; 0 if there is no server."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def text(self, path, headers=None):
        request = urllib.request.Request(self.url + path, headers=headers or {})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.read().decode()

    def gauge(self, name):
        """The sum of a metric's series."""
        values = [line.rsplit(" ", 1)[1] for line in self.text("/metrics").splitlines() if line.startswith(name + "{")]
        return sum(map(float, values))

    def client(self, **options):
        options.setdefault("api_key", "anything")
        options.setdefault("max_retries", 0)
        options.setdefault("timeout", 120)
        return openai.OpenAI(base_url=self.url + "/v1", **options)

    def async_client(self, **options):
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key="anything", max_retries=0, timeout=300, **options)

    def model(self):
        return self.client().models.list().data[0].id

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        os.unlink(self.log.name)


def synthetic_command():
    program = os.environ.get("DEEPWELL_SYNTHETIC_BIN")
    if not program:
        pytest.skip("DEEPWELL_SYNTHETIC_BIN is not set")
    return [program]


def model_command():
    program, models = os.environ.get("DEEPWELL_BIN"), os.environ.get("DEEPWELL_TEST_MODELS")
    if not program or not models:
        pytest.skip("DEEPWELL_BIN and DEEPWELL_TEST_MODELS are not set")
    path = os.path.join(models, MODEL_FILE)
    if not os.path.exists(path):
        pytest.skip(f"{path} is not there")
    return [program, "serve", "--model", path]


@pytest.fixture(scope="session", params=["synthetic", "model"])
def server(request):
    """Both kinds, one after the other: what holds for one must hold for the other."""
    command = synthetic_command() + ["--pace-us", "2000"] if request.param == "synthetic" else model_command()
    running = Server(command)
    running.is_synthetic = request.param == "synthetic"
    yield running
    running.stop()


@pytest.fixture(scope="session")
def thinker():
    running = Server(synthetic_command() + ["--thoughts", "--pace-us", "1000"])
    yield running
    running.stop()


@pytest.fixture
def start():
    """Starts further synthetic servers with flags; they end with the test."""
    started = []

    def start_one(*flags):
        started.append(Server(synthetic_command() + list(flags)))
        return started[-1]

    yield start_one
    for running in started:
        running.stop()


@pytest.fixture
def start_program():
    """Starts the program with a model and further flags."""
    started = []

    def start_one(*flags, env=None):
        started.append(Server(model_command() + list(flags), env))
        return started[-1]

    yield start_one
    for running in started:
        running.stop()
