#!/usr/bin/env python3
"""Records which upstream a real nginx chooses, request by request, for random sets of peers and failures.

    tests/golden/nginx/make_sequences.py > tests/golden/nginx/sequences.txt

Every sequence has an upstream group of its own in one nginx, so that all share the same waits. A peer "fails" by
refusing connections at that moment: its listening socket is closed and opened again by this script. Needs nginx (the
output names its version).

The output has, for each group, a line of its peers, weight/max_fails/fail_timeout with b (backup) or x (down), and then
a line per request: seconds since the group's first, which peers were up, whom nginx asked in turn, its status.
"""
import atexit
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

N_SEQUENCES = 240
FIRST_PORT = 21000
PAUSES = [0, 0, 0, 1, 0, 2, 0, 0, 3, 0, 0, 1, 0, 0]   # seconds before each round


class Peer:
    def __init__(self, port):
        self.port = port
        self.listener = None

    def open(self):
        if self.listener is None:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", self.port))
            self.listener.listen(16)
            threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()

    def close(self):
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None

    def serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            connection.close()


def random_group(rng):
    n = rng.randint(1, 4)
    peers = []
    for _ in range(n):
        peers.append({"weight": rng.choice([1, 1, 1, 2, 3, 5]), "max_fails": rng.choice([0, 1, 1, 2, 3]),
                      "fail_timeout": rng.choice([1, 2, 2, 4]), "backup": False, "down": rng.random() < 0.05})
    if n >= 2 and rng.random() < 0.4:
        peers[-1]["backup"] = True
    if all(p["down"] or p["backup"] for p in peers):
        peers[0]["down"] = False
    return peers


def config(directory, groups):
    lines = ["daemon off; worker_processes 1; error_log stderr emerg;", f"pid {directory}/pid;",
             "events { worker_connections 4096; }", "http {", "  log_format tried '$upstream_addr|$status';",
             f"  access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;",
             f"  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;"]
    port = FIRST_PORT
    for g, peers in enumerate(groups):
        lines.append(f"  upstream g{g} {{")
        for p in peers:
            p["port"] = port
            port += 1
            lines.append(f"    server 127.0.0.1:{p['port']} weight={p['weight']} max_fails={p['max_fails']} "
                         f"fail_timeout={p['fail_timeout']}{' backup' if p['backup'] else ''}{' down' if p['down'] else ''};")
        lines.append("  }")
    lines.append("  server { listen 127.0.0.1:20999; add_header Tried $upstream_addr always;")
    for g in range(len(groups)):
        lines.append(f"    location = /g{g} {{ proxy_pass http://g{g}; proxy_connect_timeout 2s; }}")
    lines.append("  } }")
    return "\n".join(lines)


def ask(g):
    with socket.create_connection(("127.0.0.1", 20999)) as s:
        s.sendall(f"GET /g{g} HTTP/1.0\r\n\r\n".encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    status = int(data.split(b" ", 2)[1])
    tried = re.search(rb"(?im)^tried: *(.*?)\r$", data)
    return status, tried.group(1).decode() if tried else ""


def align():
    """To just after a full second: nginx counts in whole seconds, and so must the record."""
    time.sleep(1.15 - time.time() % 1.0)


def main():
    rng = random.Random(20240607)
    groups = [random_group(rng) for _ in range(N_SEQUENCES)]
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip()
    print(f"# {version}; made by tests/golden/nginx/make_sequences.py")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "nginx.conf")
        with open(path, "w") as f:
            f.write(config(directory, groups))
        nginx = subprocess.Popen(["nginx", "-p", directory, "-c", path])
        atexit.register(nginx.kill)
        time.sleep(1)
        servers = [[Peer(p["port"]) for p in peers] for peers in groups]
        out = [[] for _ in groups]
        ambiguous = set()
        for pause in PAUSES:
            align()
            if pause:
                time.sleep(pause)
                align()
            started = time.time()
            for g, peers in enumerate(groups):
                is_up = [rng.random() < 0.65 for _ in peers]
                for server, up in zip(servers[g], is_up):
                    server.open() if up else server.close()
                for _ in range(rng.randint(1, 3)):
                    now = int(time.time())
                    status, tried = ask(g)
                    if int(time.time()) != now:
                        ambiguous.add(g)  # nobody can say which second nginx saw
                    names = {f"127.0.0.1:{p['port']}": str(i) for i, p in enumerate(peers)}
                    chosen = [names[t] for t in re.findall(r"127\.0\.0\.1:\d+", tried)]
                    out[g].append(f"{now} {''.join('u' if u else 'd' for u in is_up)} {','.join(chosen) or '-'} {status}")
            if time.time() - started > 60:
                sys.exit("a round took too long")
        nginx.terminate()
        nginx.wait()
    for g, (peers, steps) in enumerate(zip(groups, out)):
        if g in ambiguous:
            continue
        print("group " + " ".join(f"{p['weight']}/{p['max_fails']}/{p['fail_timeout']}{'b' if p['backup'] else ''}{'x' if p['down'] else ''}"
                                  for p in peers))
        base = int(steps[0].split()[0])
        for step in steps:
            now, rest = step.split(" ", 1)
            print(f"{int(now) - base} {rest}")


if __name__ == "__main__":
    main()
