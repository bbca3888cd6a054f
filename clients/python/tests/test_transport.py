# Both transports against a server that breaks: each event arrives exactly once.
import asyncio
import json
import threading
import time

import httpx
import pytest

import deepwell_client
from deepwell_client.events import EventCutter
from scripted_server import ANSWER, STREAM_ID, AnswerScript, Reply, Request, ScriptedServer, http, sse

BODY = {"model": "m", "messages": [], "stream": True}
RESUMABLE = (f"Deepwell-Stream-Id: {STREAM_ID}", "Deepwell-Resumable: true")
JSON = "application/json"
GONE = http(404, JSON, b"{}")
RESTARTING = http(503, JSON, b"{}")
FAST = {"timeout": 5, "verify": False}  # reading the certificates takes longer than a test
# Within the sixth of ANSWER's events: the fifth, with id 3, has come.
LATE_CUT = len(sse([event.raw("\n") for event in ANSWER[:5]])) + 5


class Sync:
    """One request with the plain client: the response, its bytes as the caller gets them, the error that ended them."""

    def post(self, server, limit_s=5.0, **options):
        pieces = []
        with deepwell_client.http_client(limit_s=limit_s, **FAST) as client:
            with client.stream("POST", server.url + "/chat/completions", **{"json": BODY, **options}) as response:
                try:
                    for piece in response.iter_raw():
                        pieces.append(piece)
                except httpx.TransportError as error:
                    return response, pieces, error
        return response, pieces, None


class Async:
    """The same with the async client."""

    def post(self, *args, **options):
        return asyncio.run(self._post(*args, **options))

    async def _post(self, server, limit_s=5.0, **options):
        pieces = []
        async with deepwell_client.async_http_client(limit_s=limit_s, **FAST) as client:
            async with client.stream("POST", server.url + "/chat/completions", **{"json": BODY, **options}) as response:
                try:
                    async for piece in response.aiter_raw():
                        pieces.append(piece)
                except httpx.TransportError as error:
                    return response, pieces, error
        return response, pieces, None


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def caller(request):
    return request.param()


def events_in(pieces):
    """(id, type, data) of each event; comments, which may be lost, are left out."""
    cutter = EventCutter()
    events = cutter.feed(b"".join(pieces)) + cutter.end()[0]
    return [(event.id, event.type, event.data) for event in events if event.id or event.data]


def is_whole(piece):
    cutter = EventCutter()
    cutter.feed(piece)
    return cutter.end()[1] == b""


@pytest.fixture
def expected(caller):
    """The events of the undisturbed answer."""
    with ScriptedServer(AnswerScript()) as server:
        _, pieces, error = caller.post(server)
    assert error is None and len(server.requests) == 1
    return events_in(pieces)


def len_reply(**options):
    return len(AnswerScript(**options)(Request("POST", "", {"idempotency-key": "any"}, b"")).data)


def late_break(*replies):
    """A script: the answer breaks late, then come `replies`, one a connection, then the rest."""
    script = AnswerScript([LATE_CUT], is_reset=True)
    waiting = list(replies)
    return lambda request: waiting.pop(0) if waiting and request.method == "GET" else script(request)


# --- every cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [(), RESUMABLE], ids=["id in the chunk", "id in the header"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_each_event_once_at_every_cut(caller, expected, line_end, is_reset, headers):
    for cut in range(len_reply(line_end=line_end, headers=headers)):
        script = AnswerScript([cut], is_reset, line_end, headers)
        with ScriptedServer(script) as server:
            _, pieces, error = caller.post(server)
        assert error is None, (cut, error)
        assert events_in(pieces) == expected, cut
        assert all(is_whole(piece) for piece in pieces), cut
        assert script.n_runs == 1 and len(server.requests) <= 2, cut


def test_each_event_once_when_every_connection_breaks(caller, expected):
    for cut in range(260, len_reply()):  # behind the head and the largest event, so that each brings one
        script = AnswerScript([cut] * 50, is_reset=cut % 2 == 0)
        with ScriptedServer(script) as server:
            _, pieces, error = caller.post(server)
        assert error is None, (cut, error)
        assert events_in(pieces) == expected, cut
        assert script.n_runs == 1, cut


def test_request_for_the_rest_says_where_and_who(caller):
    with ScriptedServer(late_break()) as server:
        caller.post(server, headers={"Authorization": "Bearer sk-1", "X-Mine": "yes"})
    post, get = server.requests
    assert (get.method, get.path, get.headers["last-event-id"]) == ("GET", f"/v1/streams/{STREAM_ID}", "3")
    assert (get.headers["authorization"], get.headers["x-mine"]) == ("Bearer sk-1", "yes")
    assert get.headers["accept"] == "text/event-stream"
    assert get.headers["host"] == post.headers["host"]
    assert "idempotency-key" not in get.headers


# --- a server that is away ---------------------------------------------------------------------


@pytest.mark.parametrize("replies", [
    [Reply(RESTARTING)] * 3,
    [Reply(b""), Reply(b"", is_reset=True), Reply(b"HTTP/1.1 2")],
    [Reply(http(502, "text/html", b"<html>")), Reply(b""), Reply(RESTARTING)],
], ids=["503", "broken", "mixed"])
def test_restarting_server_is_asked_until_it_answers(caller, expected, replies):
    with ScriptedServer(late_break(*replies)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and events_in(pieces) == expected
    assert len(server.requests) == 2 + len(replies)


def test_refused_connections_are_tried_until_somebody_listens(caller, expected):
    def last_reply(request):
        first.stop_listening()
        threading.Timer(0.4, lambda: second.append(ScriptedServer(AnswerScript(), first.port))).start()
        return AnswerScript([LATE_CUT])(request)

    second = []
    with ScriptedServer(last_reply) as first:
        _, pieces, error = caller.post(first)
    assert error is None and events_in(pieces) == expected
    with second[0]:
        assert [request.method for request in second[0].requests] == ["GET"]


def test_server_that_stays_away_gives_the_connections_own_error(caller):
    with ScriptedServer(late_break(*[Reply(RESTARTING)] * 100)) as server:
        start = time.monotonic()
        _, pieces, error = caller.post(server, limit_s=0.6)
    assert isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError))
    assert [event_id for event_id, _, _ in events_in(pieces)] == ["0", "1", "2", "3"]
    assert 0.2 < time.monotonic() - start < 3
    assert 4 <= len(server.requests) <= 12


def test_stream_that_never_goes_on_is_given_up(caller):
    with ScriptedServer(AnswerScript([LATE_CUT] + [150] * 100)) as server:
        _, _, error = caller.post(server, limit_s=0.6)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert len(server.requests) <= 12


@pytest.mark.parametrize("status", [404, 410, 401, 400])
def test_answer_that_is_gone_gives_the_connections_own_error_at_once(caller, status):
    with ScriptedServer(late_break(Reply(http(status, JSON, b"{}")))) as server:
        _, pieces, error = caller.post(server)
    assert isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError))
    assert len(server.requests) == 2
    assert [event_id for event_id, _, _ in events_in(pieces)] == ["0", "1", "2", "3"]


def test_page_of_a_proxy_is_not_an_answer(caller):
    with ScriptedServer(late_break(Reply(http(200, "text/html", b"<html>")))) as server:
        _, _, error = caller.post(server)
    assert error is not None and len(server.requests) == 2


# --- streams that end otherwise ----------------------------------------------------------------


@pytest.mark.parametrize("headers, first", [
    (("Deepwell-Resumable: false",), b'data: {"id":"chatcmpl-a1"}\nid: 0\n\n'),
    ((), b'data: {"id":"chatcmpl-a1","resumable":false}\nid: 0\n\n'),
], ids=["header", "chunk"])
def test_stream_that_is_not_resumable_is_left_alone(caller, headers, first):
    data = sse([first, b"data: {}\nid: 1\n\n"], *headers)
    with ScriptedServer(lambda _: Reply(data, len(data) - 5)) as server:
        _, pieces, error = caller.post(server)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert len(events_in(pieces)) == 2 and len(server.requests) == 1


def test_error_event_ends_the_answer(caller):
    error_event = b'event: error\ndata: {"error":{"message":"no"}}\n\n'
    data = sse([b'data: {"id":"chatcmpl-a1"}\nid: 0\n\n', error_event])
    with ScriptedServer(lambda _: Reply(data, len(data) - 5, True)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and len(server.requests) == 1
    assert b"".join(pieces).endswith(error_event)


SHUTTING_DOWN = b'event: error\ndata: {"error":{"message":"bye","resumable":true}}\n\n'


def test_error_of_a_server_that_shuts_down_is_a_break(caller, expected):
    script = AnswerScript()
    begun = sse([b'data: {"id":"chatcmpl-a1","choices":[]}\nid: 0\n\n', SHUTTING_DOWN])
    with ScriptedServer(lambda request: Reply(begun) if request.method == "POST" else script(request)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and events_in(pieces) == expected


def test_error_of_a_server_that_shut_down_for_good_is_shown(caller):
    begun = sse([b'data: {"id":"chatcmpl-a1"}\nid: 0\n\n', SHUTTING_DOWN])
    with ScriptedServer(lambda request: Reply(begun if request.method == "POST" else GONE)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and b"".join(pieces).endswith(SHUTTING_DOWN)


def test_stream_of_another_server_goes_through_as_it_is(caller):
    text = b'data: {"id":"chatcmpl-zz"}\n\ndata: {}\n\ndata: half'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    with ScriptedServer(lambda _: Reply(head + text)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and b"".join(pieces) == text and len(server.requests) == 1


# --- requests that fail without an answer ------------------------------------------------------


WHOLE = http(200, JSON, b'{"id":"chatcmpl-a1","choices":[]}')


def test_whole_answer_is_asked_for_again_at_every_cut(caller):
    for cut in range(len(WHOLE)):
        replies = [Reply(WHOLE, cut, is_reset=cut % 2 == 0), Reply(RESTARTING), Reply(WHOLE)]
        with ScriptedServer(lambda _: replies.pop(0)) as server:
            response, pieces, error = caller.post(server, json={"model": "m", "messages": []})
        assert error is None and response.status_code == 200, cut
        assert json.loads(b"".join(pieces))["id"] == "chatcmpl-a1"
        keys = {request.headers["idempotency-key"] for request in server.requests}
        assert len(keys) == 1 and len(server.requests) == 3, cut
        assert len({request.body for request in server.requests}) == 1


def test_given_key_is_kept_and_others_differ(caller):
    with ScriptedServer(lambda _: Reply(WHOLE)) as server:
        caller.post(server, headers={"Idempotency-Key": "mine"})
        caller.post(server)
        caller.post(server)
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert keys[0] == "mine" and len(set(keys)) == 3


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_first_refusal_is_the_callers(caller, status):
    with ScriptedServer(lambda _: Reply(http(status, JSON, b'{"error":{}}', "Retry-After: 1"))) as server:
        response, pieces, _ = caller.post(server)
    assert response.status_code == status and response.headers["retry-after"] == "1"
    assert b"".join(pieces) == b'{"error":{}}' and len(server.requests) == 1


def refused(status, code):
    return http(status, JSON, b'{"error":{"code":"%s"}}' % code.encode(), "Retry-After: 5")


@pytest.mark.parametrize("status, code", [(503, "model_loading"), (503, "shutting_down"), (409, "answer_elsewhere")])
def test_server_that_comes_or_goes_is_asked_again_soon(caller, expected, status, code):
    script = AnswerScript()
    replies = [Reply(refused(status, code))] * 3
    with ScriptedServer(lambda request: replies.pop() if replies else script(request)) as server:
        _, pieces, error = caller.post(server)
    assert error is None and events_in(pieces) == expected and len(server.requests) == 4


def test_server_that_loads_for_long_gives_its_own_refusal(caller):
    with ScriptedServer(lambda _: Reply(refused(503, "model_loading"))) as server:
        response, pieces, _ = caller.post(server, limit_s=0.3)
    assert response.status_code == 503 and b"model_loading" in b"".join(pieces)


def test_server_that_has_too_much_to_do_is_left_in_peace(caller):
    with ScriptedServer(lambda _: Reply(refused(503, "queue_full"))) as server:
        response, _, _ = caller.post(server)
    assert response.status_code == 503 and len(server.requests) == 1


def test_server_that_never_answers_gives_the_first_error(caller):
    with ScriptedServer(lambda _: Reply(b"", is_reset=True)) as server, pytest.raises(httpx.TransportError):
        caller.post(server, limit_s=0.3)
    assert len(server.requests) >= 3


def test_callers_own_limit_on_waiting_is_kept(caller):
    def slow(_):
        time.sleep(0.5)
        return Reply(WHOLE)

    with ScriptedServer(slow) as server, pytest.raises(httpx.ReadTimeout):
        caller.post(server, timeout=0.1)
    assert len(server.requests) == 1


def test_other_requests_are_not_touched():
    with ScriptedServer(lambda _: Reply(b"")) as server, deepwell_client.http_client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(server.url + "/models")
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(server.url + "/embeddings", json={})
    assert len(server.requests) == 2
    assert all("idempotency-key" not in request.headers for request in server.requests)
