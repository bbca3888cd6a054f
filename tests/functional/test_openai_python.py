# The official OpenAI client for Python against the server: answers, streams, and the errors it must understand.
import time

import openai
import pytest

QUESTION = [{"role": "user", "content": "Say hello."}]


def ask(server, **fields):
    fields.setdefault("max_tokens", 12)
    return server.client().chat.completions.create(model=server.model(), messages=QUESTION, **fields)


def read(stream):
    """(role, text, finish_reason, usage) of a whole stream."""
    role, text, finish, usage = None, "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            role = role or choice.delta.role
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return role, text, finish, usage


def test_models_are_listed_and_shown(server):
    models = server.client().models.list().data
    assert models
    assert server.client().models.retrieve(models[0].id).id == models[0].id


def test_answer_comes_whole(server):
    answer = ask(server)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.system_fingerprint
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_says_the_same_as_the_document(server):
    whole = ask(server, temperature=0)
    role, text, finish, usage = read(ask(server, temperature=0, stream=True, seed=whole.seed, stream_options={"include_usage": True}))
    assert role == "assistant"
    if not server.is_synthetic:  # the synthetic engine depends on the seed at any temperature; given above
        whole = ask(server, temperature=0)
    assert text == whole.choices[0].message.content
    assert finish == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_usage_chunk_only_where_asked(server):
    assert read(ask(server, stream=True))[3] is None


def test_same_seed_same_answer(server):
    first, second, other = (ask(server, seed=seed, temperature=1).choices[0].message.content for seed in (7, 7, 8))
    assert first == second
    assert first != other


def test_drawn_seed_repeats_the_answer(server):
    drawn = ask(server, temperature=1)
    assert ask(server, temperature=1, seed=drawn.seed).choices[0].message.content == drawn.choices[0].message.content


def test_max_tokens_ends_with_length(server):
    answer = ask(server, max_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3
    assert ask(server, max_tokens=None, max_completion_tokens=3).usage.completion_tokens == 3


def test_stop_string_ends_the_answer_before_it(server):
    text = ask(server, temperature=0, seed=1).choices[0].message.content
    stop = text[2:5]
    stopped = ask(server, temperature=0, seed=1, stop=[stop]).choices[0]
    assert stopped.message.content == text[: text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert read(ask(server, temperature=0, seed=1, stop=stop, stream=True))[1] == stopped.message.content


def test_several_choices(server):
    answer = ask(server, n=3, temperature=1, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_content_parts_and_developer_role(server):
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert server.client().chat.completions.create(model=server.model(), messages=messages, max_tokens=3).choices


def test_control_tokens_of_a_user_stay_text(server):
    """The spelling of a control token costs a user several tokens: it never becomes the one it names."""
    def n_prompt(text):
        messages = [{"role": "user", "content": text}]
        return server.client().chat.completions.create(model=server.model(), messages=messages, max_tokens=1).usage.prompt_tokens
    spelling = "<|end|>" if server.is_synthetic else "<|im_end|>"
    assert n_prompt("a" + spelling + "b") > n_prompt("ab") + 2


def test_thoughts_are_apart_from_the_answer(thinker):
    answer = ask(thinker, max_tokens=None).choices[0].message
    assert answer.reasoning_content == "let me see, 让我想想"
    assert answer.content == "The answer is 42 🙂"
    thought, text = "", ""
    for chunk in ask(thinker, max_tokens=None, stream=True):
        delta = chunk.choices[0].delta
        thought += getattr(delta, "reasoning_content", None) or ""
        text += delta.content or ""
        assert not (getattr(delta, "reasoning_content", None) and text), "a thought after the answer began"
    assert (thought, text) == (answer.reasoning_content, answer.content)


def test_unknown_model_is_404_and_says_what_to_use(server):
    with pytest.raises(openai.NotFoundError) as refused:
        server.client().chat.completions.create(model="gpt-9", messages=QUESTION)
    assert refused.value.code == "model_not_found" and server.model() in refused.value.message


@pytest.mark.parametrize("fields, param", [
    ({"temperature": 9}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"top_p": -1}, "top_p"),
    ({"n": 99}, "n"),
    ({"stop": [""]}, "stop[0]"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"logit_bias": {"999999999": 1}}, "logit_bias"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"logprobs": True}, "logprobs"),
    ({"response_format": {"type": "json_object"}}, "response_format.type"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
])
def test_wrong_fields_are_400_and_named(server, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        server.client().chat.completions.create(**{"model": server.model(), "messages": QUESTION, **fields})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_long_prompt_is_400_with_both_numbers(server):
    with pytest.raises(openai.BadRequestError) as refused:
        server.client().chat.completions.create(model=server.model(), messages=[{"role": "user", "content": "word " * 60000}])
    assert refused.value.code == "context_length_exceeded"
    n_context = server.client().models.retrieve(server.model()).max_model_len
    assert str(n_context) in refused.value.message


def test_keys_are_asked_for(start):
    server = start("--api-key", "sk-right", "--pace-us", "10")
    with pytest.raises(openai.AuthenticationError):
        server.client(api_key="sk-wrong").models.list()
    assert server.client(api_key="sk-right").models.list().data


def test_full_queue_is_503_with_a_time_to_come_back(start):
    server = start("--n-slots", "1", "--n-queue", "0", "--pace-us", "20000")
    with server.client().chat.completions.create(model="synthetic", messages=QUESTION, max_tokens=500, stream=True) as first:
        next(iter(first))
        with pytest.raises(openai.InternalServerError) as refused:
            server.client().chat.completions.create(model="synthetic", messages=QUESTION)
        assert refused.value.status_code == 503 and refused.value.code == "queue_full"
        assert int(refused.value.response.headers["retry-after"]) > 0


def test_failure_in_mid_stream_is_an_error_not_an_end(start):
    server, text, finish = start("--fail-at", "5", "--pace-us", "1000"), "", None
    with pytest.raises(openai.APIError) as failed:
        for chunk in server.client().chat.completions.create(model="synthetic", messages=QUESTION, stream=True):
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason
    assert len(text) == 5 and finish is None
    assert "told to fail" in failed.value.message
    with pytest.raises(openai.InternalServerError):
        server.client().chat.completions.create(model="synthetic", messages=QUESTION)


def test_leaving_in_mid_stream_stops_the_computation(server):
    before = server.gauge("deepwell:client_disconnects_total")
    stream = server.client().chat.completions.create(
        model=server.model(), messages=QUESTION, max_tokens=100000, stream=True, extra_body={"ignore_eos": True})
    for _, _chunk in zip(range(4), stream):
        pass
    stream.close()
    deadline = time.monotonic() + 20
    while server.gauge("deepwell:num_requests_running") > 0 or server.gauge("deepwell:client_disconnects_total") == before:
        assert time.monotonic() < deadline, "the generation went on without its client"
        time.sleep(0.05)
