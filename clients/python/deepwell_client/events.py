# Server-sent events, cut out of a byte stream whole.
# Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

# Two line ends in a row. A CR at the very end of what has come may be half of a CRLF, so it ends
# nothing yet.
_BORDER = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n|\Z))")
_LONGEST_BORDER = 4


@dataclass(frozen=True)
class Event:
    raw: bytes  # as it came, with the empty line
    id: Optional[str]  # None: it has no `id:` line, so the last one stays
    type: str
    data: str


class EventCutter:
    """Collects bytes and gives them back as whole events; half an event stays inside."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        search_from = max(0, len(self._rest) - _LONGEST_BORDER)
        self._rest += data
        events = []
        start = 0
        while border := _BORDER.search(self._rest, max(start, search_from)):
            events.append(_parse(bytes(self._rest[start : border.end()])))
            start = border.end()
        del self._rest[:start]
        return events

    def end(self) -> tuple[list[Event], bytes]:
        """No more bytes come: the event that waited for the other half of a CRLF, and what is no whole event."""
        rest = bytes(self._rest)
        self._rest.clear()
        if rest.endswith((b"\r\r", b"\n\r")):
            return [_parse(rest)], b""
        return [], rest


def _parse(raw: bytes) -> Event:
    event_id: Optional[str] = None
    event_type = ""
    data = []
    for line in raw.splitlines():
        name, _, value = line.partition(b":")
        text = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data.append(text)
        elif name == b"event":
            event_type = text.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in text:
            event_id = text.decode("utf-8", "replace")
    return Event(raw, event_id, event_type, b"\n".join(data).decode("utf-8", "replace"))
