# Cutting events: wherever the bytes are split, the same events come out.
import pytest

from deepwell_client.events import EventCutter
from scripted_server import ANSWER


def cut(pieces):
    cutter = EventCutter()
    events = [event for piece in pieces for event in cutter.feed(piece)]
    return events + cutter.end()[0]


def text(line_end):
    return b"".join(event.raw(line_end) for event in ANSWER)


EXPECTED = [
    ("0", "", '{"id":"chatcmpl-a1","choices":[]}'),
    (None, "", ""),
    ("1", "", '{"t":"水滴"}'),
    ("2", "", ""),
    ("3", "", '{\n"t":"two lines"}'),
    ("3!", "message", '{"t":"🜄é"}'),
    ("3!u", "", "[DONE]"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_same_events_wherever_the_bytes_are_split(line_end):
    data = text(line_end)
    for at in range(len(data) + 1):
        events = cut([data[:at], data[at:]])
        assert [(event.id, event.type, event.data) for event in events] == EXPECTED, at
        assert b"".join(event.raw for event in events) == data, at
    assert [event.raw for event in cut(data[i : i + 1] for i in range(len(data)))] == [event.raw for event in cut([data])]


def test_event_comes_out_with_its_last_byte():
    cutter = EventCutter()
    assert cutter.feed(b"data: a\n") == []
    assert [event.data for event in cutter.feed(b"\n")] == ["a"]


def test_half_an_event_stays_inside():
    cutter = EventCutter()
    assert cutter.feed(b"data: a\n\ndata: b\n")[0].raw == b"data: a\n\n"
    assert cutter.end() == ([], b"data: b\n")
    assert cutter.feed(b"data: c\n\n")[0].data == "c"


def test_empty_id_forgets_the_last_one_and_one_with_a_nul_does_not_count():
    assert cut([b"id\ndata: a\n\n"])[0].id == ""
    assert cut([b"id: 1\0\ndata: a\n\n"])[0].id is None


def test_further_empty_lines_belong_to_no_event():
    events = cut([b"data: a\n\n\n\ndata: b\n\n"])
    assert [event.data for event in events if event.data] == ["a", "b"]
