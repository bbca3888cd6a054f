# A server that breaks on purpose: it speaks just enough HTTP/1.1 on plain sockets to end anywhere.
from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Callable, Optional

DONE = "[DONE]"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Reply:
    data: bytes
    cut: Optional[int] = None  # so many bytes are sent, then the connection ends
    is_reset: bool = False  # with a reset instead of an orderly end


class ScriptedServer:
    """Answers each connection's one request with what `script(request)` returns."""

    def __init__(self, script: Callable[[Request], Reply], port: int = 0) -> None:
        self.script = script
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_listening()

    def stop_listening(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass  # it was stopped before
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(10)
                try:
                    self._answer(peer)
                except OSError:
                    pass  # the client left first

    def _answer(self, peer: socket.socket) -> None:
        request = _read_request(peer)
        if request is None:
            return
        self.requests.append(request)
        reply = self.script(request)
        peer.sendall(reply.data if reply.cut is None else reply.data[: reply.cut])
        if reply.is_reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_request(peer: socket.socket) -> Optional[Request]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += peer.recv(65536)
    return Request(method, path, headers, body)


def http(status: int, kind: str, body: bytes, *headers: str) -> bytes:
    """A response with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sse(events: list[bytes], *headers: str) -> bytes:
    """A streamed response, one chunk an event, as servers write them."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream; charset=utf-8", "Transfer-Encoding: chunked", "Connection: close"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    return "\r\n".join([*lines, *headers, "", ""]).encode() + chunks + b"0\r\n\r\n"


@dataclass
class Told:
    """One event of an answer."""

    cursor: str
    lines: list[str]
    has_cursor: bool = True

    def raw(self, line_end: str) -> bytes:
        lines = [*self.lines, f"id: {self.cursor}"] if self.has_cursor else self.lines
        return "".join(line + line_end for line in [*lines, ""]).encode()


STREAM_ID = "chatcmpl-a1"
ANSWER = [
    Told("0", [f'data: {{"id":"{STREAM_ID}","choices":[]}}']),
    Told("0", [": ping"], has_cursor=False),
    Told("1", ['data: {"t":"水滴"}']),
    Told("2", []),  # an id alone
    Told("3", ["data: {", 'data:"t":"two lines"}']),
    Told("3!", [": why not", "event: message", 'data: {"t":"🜄é"}']),
    Told("3!u", [f"data: {DONE}"]),
]


@dataclass
class AnswerScript:
    """Serves ANSWER; the n-th connection is cut after cuts[n] bytes, and later ones are whole."""

    cuts: list[int] = field(default_factory=list)
    is_reset: bool = False
    line_end: str = "\n"
    headers: tuple[str, ...] = ()
    n_runs: int = 0
    known_keys: set[str] = field(default_factory=set)

    def __call__(self, request: Request) -> Reply:
        if request.method == "POST":
            key = request.headers["idempotency-key"]
            self.n_runs += key not in self.known_keys
            self.known_keys.add(key)
            events = ANSWER
        else:
            assert request.path == f"/v1/streams/{STREAM_ID}", request.path
            assert not request.body and "content-type" not in request.headers
            events = rest_after(request.headers.get("last-event-id"))
        data = sse([event.raw(self.line_end) for event in events], *self.headers)
        return Reply(data, self.cuts.pop(0) if self.cuts else None, self.is_reset)


def rest_after(cursor: Optional[str]) -> list[Told]:
    if cursor is None:
        return ANSWER
    last = max(i for i, event in enumerate(ANSWER) if event.cursor == cursor and event.has_cursor)
    return [event for event in ANSWER[last + 1 :] if event.has_cursor]
