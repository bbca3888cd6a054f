# What is done about a broken connection, without doing it: which requests, which answers, how often.
# The transports (transport.py) carry it out, with and without await.
# Spec: docs/clients.md
from __future__ import annotations

import json
import random
import re
import time
import uuid
from typing import Any, Optional

import httpx

from .events import Event, EventCutter

DEFAULT_LIMIT_S = 30.0
FIRST_DELAY_S = 0.05
LONGEST_DELAY_S = 0.5
# The server writes a comment every 15 s: a connection that is silent for three of them is dead.
SILENCE_LIMIT_S = 45.0

COMPLETIONS = "/chat/completions"
# Errors after which nobody knows whether the request arrived. Other timeouts are the caller's own limits.
BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
# A stream has begun: its server is silent, or gone.
BROKEN_STREAM = (*BROKEN, httpx.ReadTimeout)
# Statuses of a server, or a proxy before it, that will be back.
BUSY = frozenset({429, 502, 503, 504})
# Refusals of a server that comes or goes, not of one that has too much to do: that one says when to come again.
PASSING = frozenset({"model_loading", "shutting_down", "answer_elsewhere"})

_USABLE_ID = re.compile(r"[A-Za-z0-9_-]+")


def is_completion(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith(COMPLETIONS)


def is_event_stream(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_plain = response.headers.get("content-encoding", "identity") == "identity"
    return response.status_code == 200 and kind == "text/event-stream" and is_plain


def prepare(request: httpx.Request) -> None:
    """Makes a completion fit to be sent twice."""
    if "idempotency-key" not in request.headers:
        request.headers["Idempotency-Key"] = str(uuid.uuid4())
    request.headers["Accept-Encoding"] = "identity"  # events are cut out of the bytes as they come


def is_passing(response: httpx.Response, body: bytes, is_recovering: bool) -> bool:
    """Whether the same completion may be taken in a moment. `is_recovering`: a connection broke before."""
    if is_recovering and response.status_code in BUSY:
        return True
    return response.status_code in (409, 503) and _fields(body, "error").get("code") in PASSING


class Patience:
    """When the next attempt is due. Starts anew whenever the answer goes on."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.renew()

    def renew(self) -> None:
        self._n_tries = 0
        self._deadline = 0.0

    def next_delay_s(self) -> Optional[float]:
        """How long to wait before the next attempt; None when the limit is reached."""
        now = time.monotonic()
        self._n_tries += 1
        if self._n_tries == 1:
            self._deadline = now + self._limit_s
            return 0.0
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(self._n_tries - 2, 10))
        delay *= random.uniform(0.8, 1.0)  # many clients lose the same server at once
        return delay if now + delay <= self._deadline else None


class Answer:
    """How far one streamed answer has come, and what of it may go on to the caller: whole events only."""

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        self._request = request
        self._cutter = EventCutter()
        self._cursor: Optional[str] = None
        self._id = ""
        self._is_named = False
        self._is_resumable = True
        self._has_begun = False
        self.is_over = False
        # An error event that says that the answer goes on elsewhere: shown only if it cannot be had.
        self.held_error: Optional[Event] = None
        self.attach(response)

    def attach(self, response: httpx.Response) -> None:
        """The bytes that come now are those of `response`."""
        if name := response.headers.get("deepwell-stream-id"):
            self._id = name
            self._is_named = True
        if response.headers.get("deepwell-resumable", "").lower() == "false":
            self._is_resumable = False
        self.held_error = None

    def take(self, data: bytes) -> bytes:
        return b"".join(self._note(event) for event in self._cutter.feed(data))

    def end(self) -> tuple[bytes, bytes]:
        """The connection ended: what is whole, and what is half an event."""
        events, rest = self._cutter.end()
        return b"".join(self._note(event) for event in events), rest

    @property
    def may_end_here(self) -> bool:
        """Whether an orderly end of the connection is the answer's end.

        Deepwell's answers end with [DONE] or an error, and a proxy may make an orderly end of a lost connection;
        other servers' streams are passed on as they are.
        """
        return self._has_begun and not self._is_deepwell

    @property
    def _is_deepwell(self) -> bool:
        return self._cursor is not None or self._is_named

    def next_request(self) -> Optional[httpx.Request]:
        """What gets the rest of the answer; None if nothing does."""
        if not self._is_resumable:
            return None
        if not self._has_begun and not self._id:
            return self._request  # nothing came, and its key keeps it from running twice
        if not self._is_deepwell or not _USABLE_ID.fullmatch(self._id):
            return None
        return _rest_of(self._request, self._id, self._cursor)

    def _note(self, event: Event) -> bytes:
        if self.held_error:
            return b""
        if event.type == "error" and _fields(event.data, "error").get("resumable") is True:
            self.held_error = event
            return b""
        if event.id is not None:
            self._cursor = event.id
        if event.data and not self._has_begun:
            self._has_begun = True
            first = _fields(event.data)
            self._id = self._id or str(first.get("id", ""))
            if first.get("resumable") is False:
                self._is_resumable = False
        if event.type == "error" or event.data == "[DONE]":
            self.is_over = True
        return event.raw


def _fields(data: str | bytes, name: Optional[str] = None) -> dict[str, Any]:
    """A JSON object, or the object that stands in it under `name`; empty if there is none."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    if name is not None and isinstance(found, dict):
        found = found.get(name)
    return found if isinstance(found, dict) else {}


def _rest_of(request: httpx.Request, stream_id: str, cursor: Optional[str]) -> httpx.Request:
    url = request.url.copy_with(path=request.url.path[: -len(COMPLETIONS)] + "/streams/" + stream_id)
    headers = request.headers.copy()
    for name in ("content-length", "content-type", "transfer-encoding", "idempotency-key", "last-event-id"):
        headers.pop(name, None)
    headers["Accept"] = "text/event-stream"
    if cursor:
        headers["Last-Event-ID"] = cursor
    timeout = dict(request.extensions.get("timeout", {}))
    timeout["read"] = min(timeout.get("read") or SILENCE_LIMIT_S, SILENCE_LIMIT_S)
    return httpx.Request("GET", url, headers=headers, extensions={**request.extensions, "timeout": timeout})
