# Streams that lose their connection: read again from the last event, as docs/api/streams.md says.
import json
import urllib.request

import pytest

BODY = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 60,
        "stream_options": {"include_usage": True}, "ignore_eos": True, "seed": 11}


def events(reply, n_max=None):
    """(id, data) of each event, at most n_max of them."""
    found, last_id = [], ""
    for line in reply:
        line = line.decode().rstrip("\n")
        if line.startswith("id: "):
            last_id = line[4:]
        if line.startswith("data: "):
            found.append((last_id, line[6:]))
            if len(found) == n_max:
                break
    return found


def text(found):
    chunks = [json.loads(data) for _, data in found if data != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def post(server, body, **headers):
    request = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", **headers})
    return urllib.request.urlopen(request, timeout=60)


def stream(server, stream_id, last_event_id):
    request = urllib.request.Request(f"{server.url}/v1/streams/{stream_id}", headers={"Last-Event-ID": last_event_id})
    return urllib.request.urlopen(request, timeout=60)


@pytest.mark.parametrize("n_seen", [1, 2, 10, 40])
def test_a_lost_stream_goes_on_where_it_broke(server, n_seen):
    with post(server, BODY) as reply:
        stream_id = reply.headers["Deepwell-Stream-Id"]
        assert reply.headers["Deepwell-Resumable"] == "true"
        seen = events(reply, n_seen)
    rest = events(stream(server, stream_id, seen[-1][0]))
    assert rest[-1][1] == "[DONE]"
    whole = events(post(server, BODY))  # the same seed
    assert text(seen) + text(rest) == text(whole)
    usage = [json.loads(data)["usage"] for _, data in rest[:-1] if json.loads(data)["usage"]]
    assert [one["completion_tokens"] for one in usage] == [60]


def test_an_openai_client_never_runs_a_keyed_request_twice(server):
    fields = {"model": "default", "messages": BODY["messages"], "max_tokens": 20, "extra_body": {"ignore_eos": True},
              "extra_headers": {"Idempotency-Key": "functional-1"}}
    first = server.client().chat.completions.create(**fields)
    again = server.client().chat.completions.create(**fields)  # no seed was given: by itself it would differ
    assert again.id == first.id and again.choices[0].message.content == first.choices[0].message.content
    whole = events(stream(server, first.id, ""))
    assert text(whole) == first.choices[0].message.content
