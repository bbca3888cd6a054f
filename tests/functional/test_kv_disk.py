# The whole server restarts: with --kv-disk the same prompt is hardly computed again, and the same text comes.
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import Server, model_command

BLOCK_TOK = 16  # what is kept are whole blocks
PROMPT = "The old river carries a small boat to the quiet bridge, and nobody asks why. " * 20


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(*flags, env=None):
        started.append(Server([*model_command(), "-c", "1024", *flags], {"DEEPWELL_HOME": str(tmp_path), **(env or {})}))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def ask(server, prompt=PROMPT):
    answer = server.client().chat.completions.create(
        model=server.model(), messages=[{"role": "user", "content": prompt}], max_tokens=24, seed=7, temperature=0.8,
        extra_body={"ignore_eos": True})
    return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens


def stop(server):
    server.signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


def wait_until_saved(server, n_prompt):
    deadline = time.monotonic() + 30
    while server.gauge("deepwell:kv_disk_blocks_saved_total") < n_prompt // BLOCK_TOK:
        assert time.monotonic() < deadline, "the prompt's blocks were not saved"
        time.sleep(0.05)


def kv_disk(tmp_path, *flags):
    return subprocess.run([model_command()[0], "kv-disk", "--home", str(tmp_path), *flags], check=True,
                          capture_output=True, text=True).stdout


@pytest.mark.parametrize("workers", ["0", "1", "2"])
def test_a_restarted_server_hardly_computes_the_same_prompt_again(serve, workers):
    flags = ("--workers", workers, "--kv-disk", "256M")
    server = serve(*flags)
    text, n_prompt, n_cached = ask(server)
    assert n_prompt > 300 and n_cached == 0
    stop(server)
    server = serve(*flags)
    again, _, n_cached = ask(server)
    assert again == text
    assert n_cached >= n_prompt - BLOCK_TOK
    assert server.gauge("deepwell:kv_disk_blocks_loaded_total") >= n_prompt // BLOCK_TOK
    assert server.gauge("deepwell:kv_disk_bytes") > 0


def test_without_the_option_it_computes_all_of_it(serve, tmp_path):
    server = serve()
    text, _, _ = ask(server)
    stop(server)
    server = serve()
    assert ask(server)[0] == text
    assert ask(serve())[2] == 0
    assert not (tmp_path / "kv").exists()


def test_a_killed_server_finds_what_was_saved(serve):
    server = serve("--workers", "0", "--kv-disk", "256M")
    text, n_prompt, _ = ask(server)
    wait_until_saved(server, n_prompt)
    server.signal(signal.SIGKILL)
    server.process.wait(10)
    again, _, n_cached = ask(serve("--workers", "0", "--kv-disk", "256M"))
    assert again == text and n_cached >= n_prompt - BLOCK_TOK


def test_damage_costs_time_and_nothing_else(serve, tmp_path):
    server = serve("--kv-disk", "256M")
    text, n_prompt, _ = ask(server)
    stop(server)
    path = pathlib.Path(tmp_path) / "kv" / "blocks.db"
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 3, len(data), 50_000):
        data[at] ^= 4
    path.write_bytes(data)
    server = serve("--kv-disk", "256M")
    again, _, n_cached = ask(server)
    assert again == text
    assert n_cached < n_prompt - BLOCK_TOK
    assert server.gauge("deepwell:kv_disk_blocks_refused_total") > 0


def test_a_disk_that_cannot_be_written_costs_no_answer(serve, tmp_path):
    (tmp_path / "kv").write_text("in the way")
    server = serve("--kv-disk", "256M")
    assert ask(server)[0]
    assert server.status("/readyz") == 200
    assert server.output().count("passed over") == 1


def test_it_can_be_looked_at_and_cleared(serve, tmp_path):
    assert kv_disk(tmp_path).startswith("blocks=0 ")
    server = serve("--kv-disk", "256M")
    _, n_prompt, _ = ask(server)
    stop(server)
    assert int(kv_disk(tmp_path).split()[0].removeprefix("blocks=")) >= n_prompt // BLOCK_TOK
    assert kv_disk(tmp_path, "--clear", "--tenant", "nobody").startswith("deleted blocks=0 ")
    assert not kv_disk(tmp_path, "--clear").startswith("deleted blocks=0 ")
    assert os.path.getsize(tmp_path / "kv" / "blocks.db") < 1_000_000
    assert ask(serve("--kv-disk", "256M"))[2] == 0


@pytest.mark.parametrize("size", ["much", "8X", "1M", "-1", "99999999999G"])
def test_other_sizes_are_refused(serve, size):
    with pytest.raises(RuntimeError, match="--kv-disk"):
        serve(f"--kv-disk={size}")
