#!/usr/bin/env python3
"""Memory of idle streams: how much resident memory each open SSE stream costs, over all processes.

    bench/idle_streams.py build/release/deepwell --streams 10000

Starts a synthetic system whose tokens come too slowly to matter, opens the streams over raw
sockets, waits until each has its head and its first chunk, and reads VmRSS of the supervisor, the
front and every worker. A first round of streams (--warm) fills pools and arenas, so that what is
divided is what the later streams added. Exit status 1: more than --limit-kib for each stream, or a
stream that was not served.
"""

import argparse
import json
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A stream has begun when this has come: the chunk that says whose turn it is.
FIRST_CHUNK = b'"role":"assistant"'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("deepwell", help="path of the program (a Release build)")
    parser.add_argument("--streams", type=int, default=10_000, metavar="N")
    parser.add_argument("--warm", type=int, default=500, metavar="N")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--pace-s", type=float, default=60.0, help="seconds between two tokens")
    parser.add_argument("--settle-s", type=float, default=10.0, help="before memory is read")
    parser.add_argument("--limit-kib", type=float, default=12.0)
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(args, port, home):
    n_places = args.streams + args.warm
    command = [args.deepwell, "serve", "--synthetic", "--workers", str(args.workers)]
    command += ["--synthetic-pace-us", str(int(args.pace_s * 1e6)), "--parallel", str(n_places)]
    command += ["--max-waiting", str(n_places), "--max-connections", str(n_places + 64)]
    command += ["--port", str(port), "--home", str(home)]
    with open(home / "log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def wait_until_ready(server, port, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as ask:
                ask.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if b" 200 " in ask.recv(4096):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server did not become ready")


def request_bytes():
    body = json.dumps(
        {
            "model": "synthetic",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 2000,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def open_streams(port, n):
    request = request_bytes()
    streams = []
    for i in range(n):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(request)
        stream.setblocking(False)
        streams.append(stream)
        if i % 100 == 99:
            time.sleep(0.02)  # the backlog of the listening socket is finite
    return streams


def wait_for_first_chunks(streams, limit_s=120.0):
    """How many streams have begun."""
    poll = select.poll()
    waiting = {stream.fileno(): (stream, b"") for stream in streams}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    n_begun = 0
    deadline = time.monotonic() + limit_s
    while waiting and time.monotonic() < deadline:
        for fd, _ in poll.poll(1000):
            stream, got = waiting[fd]
            part = stream.recv(65536)
            got += part
            waiting[fd] = (stream, got)
            has_begun = b" 200 OK" in got and FIRST_CHUNK in got
            if has_begun or not part:
                n_begun += has_begun
                poll.unregister(fd)
                del waiting[fd]
    return n_begun


def processes(supervisor_pid):
    """Role and id of the supervisor and its children."""
    found = {"supervisor": supervisor_pid}
    children = Path(f"/proc/{supervisor_pid}/task/{supervisor_pid}/children").read_text().split()
    for pid in children:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        role = words[1].decode() if len(words) > 1 else "process"
        found[f"{role} {pid}"] = int(pid)
    return found


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def measure(supervisor_pid):
    return {role: rss_kib(pid) for role, pid in processes(supervisor_pid).items()}


def report(args, before, after):
    total = 0.0
    for role in after:
        added = (after[role] - before.get(role, 0)) / args.streams
        total += added
        print(f"{role:16} {before.get(role, 0):9} -> {after[role]:9} KiB  {added:6.2f} KiB/stream")
    print(f"{args.streams} idle streams: {total:.2f} KiB each over all processes")
    return total


def run(args, home):
    port = args.port or free_port()
    server = start(args, port, home)
    try:
        wait_until_ready(server, port)
        streams = open_streams(port, args.warm)
        n_begun = wait_for_first_chunks(streams)
        time.sleep(args.settle_s)
        before = measure(server.pid)
        streams += open_streams(port, args.streams)
        n_begun += wait_for_first_chunks(streams[args.warm :])
        time.sleep(args.settle_s)
        after = measure(server.pid)
        total = report(args, before, after)
    finally:
        server.terminate()
        try:
            server.wait(timeout=2)
        except subprocess.TimeoutExpired:
            server.terminate()  # the second time: now
            server.wait(timeout=30)
    if n_begun < args.streams + args.warm:
        print(f"only {n_begun} of {args.streams + args.warm} streams began")
        return 1
    return 0 if total <= args.limit_kib else 1


def main():
    args = parse_args()
    n_files = args.streams + args.warm + 512
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < n_files:
        raise SystemExit(f"needs {n_files} open files, but the hard limit is {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, hard))
    with tempfile.TemporaryDirectory(prefix="deepwell-idle-") as home:
        sys.exit(run(args, Path(home)))


if __name__ == "__main__":
    main()
