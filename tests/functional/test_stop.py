# Signals: SIGTERM and the first SIGINT let running answers end and refuse new ones; a second SIGINT leaves at once.
import signal
import threading
import time

import openai
import pytest

FIELDS = {"messages": [{"role": "user", "content": "hi"}], "extra_body": {"ignore_eos": True}}


@pytest.fixture(params=["synthetic", "model"])
def busy(request, start, start_program):
    """A server with one stream running: (server, a dict that gets its text and finish_reason)."""
    server = start("--pace-us", "20000") if request.param == "synthetic" else start_program()
    result, has_begun = {"text": "", "finish": None, "error": None}, threading.Event()

    def read():
        try:
            for chunk in server.client().chat.completions.create(model=server.model(), stream=True, max_tokens=100, **FIELDS):
                result["text"] += chunk.choices[0].delta.content or ""
                result["finish"] = chunk.choices[0].finish_reason or result["finish"]
                if result["text"]:
                    has_begun.set()
        except Exception as error:  # what a broken stream raises is what the test looks at
            result["error"] = error
            has_begun.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert has_begun.wait(60)
    yield server, reader, result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_answers_end_whole(busy, number):
    server, reader, result = busy
    server.signal(number)
    reader.join(60)
    assert result["error"] is None and result["finish"] == "length", result
    assert server.process.wait(20) == 0


def test_new_requests_get_503_while_draining(start):
    server = start("--pace-us", "20000")
    with server.client().chat.completions.create(model="synthetic", stream=True, max_tokens=100, **FIELDS) as stream:
        chunks = iter(stream)
        next(chunks)
        server.signal(signal.SIGTERM)
        deadline = time.monotonic() + 1
        while server.status("/readyz") != 503:
            assert time.monotonic() < deadline
        with pytest.raises(openai.InternalServerError) as refused:
            server.client().chat.completions.create(model="synthetic", **FIELDS)
        assert refused.value.status_code == 503 and refused.value.code == "shutting_down"
        assert int(refused.value.response.headers["retry-after"]) > 0
        assert sum(1 for _ in chunks) > 50
    assert server.process.wait(20) == 0


def test_second_interrupt_leaves_now(busy):
    server, reader, result = busy
    server.signal(signal.SIGINT)
    time.sleep(0.3)
    server.signal(signal.SIGINT)
    assert server.process.wait(5) is not None
    reader.join(10)
    assert result["finish"] is None, "an answer cut off looked whole"
