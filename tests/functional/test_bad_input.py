# Input that no friendly client sends: each gets the right status, and the server still answers afterwards.
import json
import pathlib
import random
import socket
import time

import pytest

CORPUS = pathlib.Path(__file__).parents[2] / "src/edge/api/http/chat_request_corpus"
PATH = "/v1/chat/completions"


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(sock):
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except OSError:
        pass
    return data


def status_of(data):
    return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/1.") else 0


def post(server, body, headers=()):
    """(status, body) of one POST on a connection of its own."""
    lines = [f"POST {PATH} HTTP/1.1", "Connection: close", f"Content-Length: {len(body)}", *headers]
    if not any(line.lower().startswith("host:") for line in lines):
        lines.append("Host: localhost")
    if not any(line.lower().startswith("content-type:") for line in lines):
        lines.append("Content-Type: application/json")
    with connect(server) as sock:
        try:
            sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        except OSError:
            pass  # the server may answer and close before it has read all
        data = read_all(sock)
    return status_of(data), data.partition(b"\r\n\r\n")[2]


@pytest.fixture(autouse=True)
def answers_afterwards(server):
    yield
    assert server.process.poll() is None, server.output()
    answer = server.client().chat.completions.create(
        model=server.model(), messages=[{"role": "user", "content": "hi"}], max_tokens=2)
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("path", sorted(CORPUS.glob("bad-*")), ids=lambda path: path.name)
def test_malformed_bodies_are_400(server, path):
    status, body = post(server, path.read_bytes())
    assert status == 400, body
    assert json.loads(body)["error"]["message"]


def test_mutated_bodies_never_break_the_server(server):
    source = random.Random(20240601)
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("good-*"))]
    seeds = [seed if b"max_tokens" in seed else seed.replace(b"{", b'{"max_tokens":2,', 1) for seed in seeds]
    seen = set()
    for _ in range(150):
        body = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 6)):
            at = source.randrange(len(body))
            match source.randrange(3):
                case 0: body[at] = source.randrange(256)
                case 1: del body[at:at + source.randint(1, 8)]
                case 2: body[at:at] = bytes(source.choice(b'{}[]",:0eE-\\\x00\xff') for _ in range(source.randint(1, 8)))
            if not body:
                body = bytearray(b"{")
        if b'"max_tokens":2' not in body:
            continue  # still valid perhaps, and then a real model may write for minutes
        status, _reply = post(server, bytes(body))
        seen.add(status)
    assert seen <= {200, 400, 404}, seen
    assert 400 in seen


def test_oversized_body_is_413_before_it_is_sent(server):
    with connect(server) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {10**12}\r\n\r\n".encode())
        assert status_of(sock.recv(65536)) == 413


def test_oversized_chunked_body_is_413(server):
    with connect(server) as sock:
        sock.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sock.settimeout(20)
        data = b""
        try:
            for _ in range(64 * 16):  # 64 MiB if nobody stops us
                sock.sendall(piece)
        except OSError:
            pass
        data = read_all(sock)
    assert status_of(data) in (413, 0)  # 0: the connection was reset while we were still sending


def test_garbage_instead_of_http(server):
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 50, b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n",
                    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with connect(server) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            assert status_of(read_all(sock)) in (0, 400, 404, 505)


def test_huge_headers_are_refused(server):
    with connect(server) as sock:
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Fill: " + b"a" * 200_000)
        assert status_of(read_all(sock)) in (431, 400, 0)


def test_forged_host_is_403(server):
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example"):
        status, body = post(server, b"{}", [f"Host: {host}"])
        assert status == 403 and json.loads(body)["error"]["code"] == "host_not_allowed"


def test_page_of_another_origin_is_403(server):
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        status, body = post(server, b"{}", [f"Origin: {origin}"])
        assert status == 403 and json.loads(body)["error"]["code"] == "origin_not_allowed"


def test_form_posts_are_415(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert post(server, b"{}", [f"Content-Type: {kind}"])[0] == 415


def test_half_closed_and_dripping_clients_hold_nothing_up(server):
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    idle = [connect(server) for _ in range(50)]
    for i, sock in enumerate(idle):
        sock.sendall(head.encode()[: 10 + i])
        if i % 2:
            sock.shutdown(socket.SHUT_WR)
    start = time.monotonic()
    assert post(server, body)[0] == 200
    assert time.monotonic() - start < 20
    with connect(server) as sock:  # slow, but within the limits
        for at in range(0, len(head), 16):
            sock.sendall(head.encode()[at:at + 16])
            time.sleep(0.01)
        sock.sendall(body)
        assert status_of(sock.recv(65536)) == 200
    for sock in idle:
        sock.close()


def test_a_thousand_clients_connect_and_leave(server):
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":50,"stream":true}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for i in range(1000):
        sock = connect(server)
        match i % 4:
            case 1: sock.sendall(head.encode()[:40])
            case 2: sock.sendall(head.encode() + body[:10])
            case 3 if i % 40 == 3: sock.sendall(head.encode() + body)
        sock.close()
    deadline = time.monotonic() + 60
    while server.gauge("deepwell:num_requests_running") > 0:
        assert time.monotonic() < deadline, "generations of clients that left go on"
        time.sleep(0.1)


def test_a_client_that_does_not_read_holds_nothing_up(server):
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":400,"stream":true,"ignore_eos":true}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connect(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(head.encode() + body)
        answer = server.client().chat.completions.create(
            model=server.model(), messages=[{"role": "user", "content": "hi"}], max_tokens=4)
        assert answer.usage.completion_tokens > 0
