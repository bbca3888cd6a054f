# Clients leave, again and again, in prefill, in decode and in the queue: how long until their K/V blocks are free?
#
#   python bench/client_leaves.py DEEPWELL MODEL.gguf [--leaves 1000] [--workers 1] [--threads 1] [--json]
#
# The server runs with --reattach-grace 0: an answer that nobody reads is an answer that nobody wants. Each round waits
# until the server is idle, opens one stream (in "queue": beside as many as are computed at once, so that it waits),
# leaves at a random moment of that phase, and asks /metrics every few ms until it is gone: no block in use beyond those
# of the others, nothing more running or waiting. A step under way ends first, so the limit is 50 ms or a step, whichever
# is longer; the measured time of one step is printed beside. The front hears of its workers' blocks once per step and
# every 100 ms when they are idle: that much of the figure is not the engine's. --workers 0 measures without it.
import argparse
import json
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time

from live_system import LiveSystem

N_PARALLEL = 2
IDLE_LIMIT_S = 60


class Asker:
    """A connection of its own, so that leaving is one close()."""

    def __init__(self, port, body):
        text = json.dumps(body).encode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                            b"Content-Length: %d\r\n\r\n" % len(text) + text)

    def read_token(self):
        seen = b""
        while b'"content":"' not in seen.replace(b'"content":""', b""):
            piece = self.socket.recv(65536)
            if not piece:
                raise SystemExit(f"the server closed the connection: {seen[-300:]!r}")
            seen += piece

    def leave(self):
        self.socket.close()


def body_of(model, n_prompt_words, rng, max_tokens=2000):
    # Different words each time: a prompt whose beginning is in the cache needs no prefill.
    words = " ".join(str(rng.randrange(10**6)) for _ in range(n_prompt_words))
    return {"model": model, "stream": True, "ignore_eos": True, "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": f"Tell me about {words}."}]}


class Room:
    def __init__(self, system):
        self.system = system
        self.model = json.loads(system.get("/v1/models")[1])["data"][0]["id"]

    def used(self):
        """(blocks in use, generations running, generations waiting)"""
        found = self.system.metrics()
        return tuple(int(found[f"deepwell:{name}"]) for name in ("kv_blocks_used", "num_requests_running", "num_requests_waiting"))

    def wait(self, is_so, what):
        begin = time.monotonic()
        while not is_so(self.used()):
            if time.monotonic() - begin > IDLE_LIMIT_S:
                raise SystemExit(f"not {what}: {self.used()}")
            time.sleep(0.002)
        return time.monotonic() - begin

    def wait_idle(self):
        return self.wait(lambda used: used == (0, 0, 0), "idle")


def leave_in_prefill(room, rng, n_words):
    room.wait_idle()
    asker = Asker(room.system.port, body_of(room.model, n_words, rng))
    room.wait(lambda used: used[1] > 0, "running")
    time.sleep(rng.uniform(0, 0.05))
    asker.leave()
    return room.wait_idle()


def leave_in_decode(room, rng, _):
    room.wait_idle()
    asker = Asker(room.system.port, body_of(room.model, 8, rng))
    asker.read_token()
    time.sleep(rng.uniform(0, 0.05))
    asker.leave()
    return room.wait_idle()


class Crowd:
    """As many long answers as are computed at once, so that one more waits; asked anew when they come to an end."""

    def __init__(self, room, rng):
        self.room, self.rng, self.askers, self.begun = room, rng, [], 0.0

    def keep(self):
        if self.askers and time.monotonic() - self.begun < 3:
            return
        self.end()
        self.room.wait_idle()
        self.askers = [Asker(self.room.system.port, body_of(self.room.model, 8, self.rng)) for _ in range(self.room.n_places)]
        for asker in self.askers:
            asker.read_token()
        self.begun = time.monotonic()

    def end(self):
        for asker in self.askers:
            asker.leave()
        self.askers = []


def leave_in_queue(room, rng, crowd):
    crowd.keep()
    asker = Asker(room.system.port, body_of(room.model, 8, rng))
    room.wait(lambda used: used[1] + used[2] > room.n_places, "in the queue")
    time.sleep(rng.uniform(0, 0.02))
    asker.leave()
    return room.wait(lambda used: used[1] + used[2] <= room.n_places, "out of the queue")


def step_ms(room, rng, n_words):
    """The longest that a step took, by the engine's own counter of steps over a prefill."""
    room.wait_idle()
    before = room.system.metrics()["deepwell:engine_steps"]
    begin = time.monotonic()
    asker = Asker(room.system.port, body_of(room.model, n_words, rng))
    asker.read_token()
    duration = time.monotonic() - begin
    asker.leave()
    n = room.system.metrics()["deepwell:engine_steps"] - before
    return 1000 * duration / max(n, 1)


def figures(times_s):
    times = sorted(1000 * t for t in times_s)
    return {"n": len(times), "p50_ms": statistics.median(times), "p99_ms": times[max(0, -(-99 * len(times) // 100) - 1)],
            "max_ms": times[-1]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("--leaves", type=int, default=1000, help="in all, a third in each phase")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt-words", type=int, default=250, help="of the prompts that are left in prefill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = random.Random(args.seed)
    folder = tempfile.mkdtemp(prefix="leaves-")
    system = LiveSystem(args.deepwell, folder, ["-m", args.model, "--workers", str(args.workers), "--threads",
                                                str(args.threads), "--parallel", str(N_PARALLEL), "--reattach-grace", "0"])
    report = {}
    try:
        room = Room(system)
        room.n_places = N_PARALLEL * max(1, args.workers)
        report["prefill_step_ms"] = statistics.median(step_ms(room, rng, args.prompt_words) for _ in range(5))
        n = max(1, args.leaves // 3)
        crowd = Crowd(room, rng)
        for name, leave, with_what in (("prefill", leave_in_prefill, args.prompt_words), ("decode", leave_in_decode, None),
                                       ("queue", leave_in_queue, crowd)):
            report[name] = figures([leave(room, rng, with_what) for _ in range(n)])
            print(name, report[name], file=sys.stderr, flush=True)
        crowd.end()
        room.wait_idle()
        report["readyz"] = system.status("/readyz")
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        print(f"a step with prefill takes {report['prefill_step_ms']:.1f} ms")
        for name in ("prefill", "decode", "queue"):
            print(f"left in {name}: {report[name]['n']} times, free after p50 {report[name]['p50_ms']:.1f}, "
                  f"p99 {report[name]['p99_ms']:.1f}, max {report[name]['max_ms']:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
