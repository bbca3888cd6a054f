# LiveSystem: a `deepwell serve` of its own for the scripts that watch one: its processes, their memory, its metrics.
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LiveSystem:
    """Runs until `stop`; its files lie in `folder`, which must have a short path (sockets)."""

    def __init__(self, program, folder, flags, name="system", start_limit_s=180):
        self.program, self.name, self.port = program, name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = str(folder)
        self.run_dir = os.path.join(self.folder, "run")
        self.journal = os.path.join(self.folder, "journal", "answers.db")
        os.makedirs(os.path.dirname(self.journal), exist_ok=True)
        self.log_path = os.path.join(self.folder, "log.txt")
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [program, "serve", *flags, "--home", self.folder, "--run-dir", self.run_dir, "--journal", self.journal,
             "--port", str(self.port)], stdout=self.log, stderr=subprocess.STDOUT)
        self.wait(lambda: self.process.poll() is not None or self.status("/readyz") == 200, start_limit_s, "ready")
        if self.process.poll() is not None:
            raise SystemExit(f"{name} left with {self.process.returncode}; its log is {self.log_path}")

    @staticmethod
    def wait(is_so, limit_s, what):
        """Seconds until it was so."""
        begin = time.monotonic()
        while not is_so():
            if time.monotonic() - begin > limit_s:
                raise TimeoutError(f"not {what} after {limit_s} s")
            time.sleep(0.05)
        return time.monotonic() - begin

    def get(self, path, limit_s=5):
        """(HTTP status, text); status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=limit_s) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError:
            return 0, ""

    def status(self, path):
        return self.get(path)[0]

    def chat(self, messages, **options):
        """The chunks of a streamed answer, as they come."""
        body = json.dumps({"messages": messages, "stream": True, "stream_options": {"include_usage": True}, **options})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise SystemExit(f"{self.name}: {response.status}: {response.read().decode()}")
        for line in response:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])

    def answer(self, messages, **options):
        """(text, usage, seconds until its first characters, seconds until its last) of a streamed answer."""
        begin, text, usage, first, last = time.monotonic(), "", {}, None, None
        for chunk in self.chat(messages, **options):
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                if choice["delta"].get("content"):
                    text += choice["delta"]["content"]
                    last = time.monotonic() - begin
                    first = first or last
        return text, usage, first, last

    def health(self):
        try:
            return json.loads(self.get("/healthz?deep=1")[1])
        except ValueError:
            return {}

    def metrics(self):
        """The sum over its series of each metric."""
        sums = {}
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                sums[name.split("{")[0]] = sums.get(name.split("{")[0], 0.0) + float(value)
        return sums

    def processes(self, kind=None):
        """What `deepwell ps` says, a dictionary for each line; only those that live."""
        out = subprocess.run([self.program, "ps", "--run-dir", self.run_dir], capture_output=True, text=True).stdout
        rows = [{"kind": words[0], **dict(word.split("=", 1) for word in words[1:])}
                for words in map(str.split, out.splitlines()) if words]
        return [row for row in rows if int(row.get("pid", 0)) > 0 and kind in (None, row["kind"])]

    def is_whole(self, n_workers):
        """All processes are there and ready, no others, and the front says so too."""
        ready = [row["kind"] for row in self.processes() if row["state"] == "ready"]
        n_children = sum(row["kind"] != "supervisor" for row in self.processes())
        return ready.count("worker") == n_workers and ready.count("front") == 1 and n_children == n_workers + 1 \
            and self.status("/readyz") == 200

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


@contextlib.contextmanager
def live_systems(program, folder, flags_of):
    """A system for each name of `flags_of`, side by side."""
    systems = {}
    try:
        for name, flags in flags_of.items():
            systems[name] = LiveSystem(program, os.path.join(folder, name), flags, name)
        yield systems
    finally:
        for system in systems.values():
            system.stop()


def memory_kib(pid):
    """(resident, of that anonymous) of a process; None if it has left."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmRSS"].split()[0]), int(fields["RssAnon"].split()[0])
    except (OSError, KeyError):
        return None


def slope(points):
    """Least squares over lists of (x, y), one list a group with a height of its own; None if there are too few."""
    above = below = 0.0
    for group in points:
        if len(group) < 3:
            continue
        mean_x, mean_y = (sum(column) / len(group) for column in zip(*group))
        above += sum((x - mean_x) * (y - mean_y) for x, y in group)
        below += sum((x - mean_x) ** 2 for x, _ in group)
    return above / below if below > 0 else None
