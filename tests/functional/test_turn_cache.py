# The second turn of a chat with a model that thinks: the server has computed its beginning while nobody waited.
import os
import pathlib
import time

import pytest
from conftest import MODEL_FILE, Server, model_command
from thinking_model import write_thinking_model

HISTORY = "The old river carries a small boat to the quiet bridge. " * 12
BLOCK_TOK = 16  # what the cache keeps are whole blocks


@pytest.fixture(scope="module")
def thinking_model(tmp_path_factory):
    model_command()  # skips without a model
    path = tmp_path_factory.mktemp("model") / "thinking.gguf"
    write_thinking_model(pathlib.Path(os.environ["DEEPWELL_TEST_MODELS"]) / MODEL_FILE, path)
    return path


@pytest.fixture
def serve(thinking_model, tmp_path):
    started = []

    def start(*flags):
        command = [model_command()[0], "serve", "--model", str(thinking_model), "--packed-image", "off", *flags]
        started.append(Server(command, {"DEEPWELL_HOME": str(tmp_path)}))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def ask(server, messages, **options):
    """The answer's content and usage. Without a thought, so that the whole answer is content; the template's closed
    thought is dropped from the next turn's prompt like any other."""
    stream = server.client().chat.completions.create(
        model=server.model(), messages=messages, temperature=0, stream=True, stream_options={"include_usage": True},
        extra_body={"ignore_eos": True, "enable_thinking": False}, **options)
    content, usage = "", None
    for chunk in stream:
        usage = chunk.usage or usage
        content += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return content, usage


def two_turns(server, wait):
    messages = [{"role": "user", "content": HISTORY}]
    content, first = ask(server, messages, max_tokens=80)
    wait()
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "Go on."}]
    return first, ask(server, messages, max_tokens=4)[1]


def wait_until_prepared(server, n):
    deadline = time.monotonic() + 60
    while server.gauge("deepwell:turn_cache_prepared_total") < n:
        assert time.monotonic() < deadline, "the next turn was not prepared"
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_second_turn_finds_its_history_computed(serve, workers):
    server = serve("--workers", workers)
    first, second = two_turns(server, lambda: wait_until_prepared(server, 1))
    n_cached = second.prompt_tokens_details.cached_tokens
    assert second.prompt_tokens > first.prompt_tokens + 60
    # "user\n", "Go on.", the template's frames and the closed thought are new; all before them is there.
    assert n_cached >= second.prompt_tokens - 24 - BLOCK_TOK


def test_without_it_all_behind_the_thought_is_computed_again(serve):
    server = serve("--workers", "0", "--turn-cache", "off")
    first, second = two_turns(server, lambda: time.sleep(0.5))
    assert second.prompt_tokens_details.cached_tokens <= first.prompt_tokens
    assert server.gauge("deepwell:turn_cache_prepared_total") == 0


def test_other_values_are_refused(serve):
    with pytest.raises(RuntimeError, match="is not one of auto, off"):
        serve("--turn-cache", "on")
