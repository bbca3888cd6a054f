# A model that does not fit the memory of its cgroup: it is packed, answers with the same tokens, says what it does, and
# nobody is killed; what would not leave room to work is refused.
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import pytest

from conftest import Server, model_command

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))
from memory_group import MemoryGroup  # noqa: E402

MIB = 1 << 20
PROMPT = "The quick brown fox jumps over the lazy dog. " * 10


@pytest.fixture
def limited():
    """Makes groups with a limit."""
    if os.geteuid() != 0:
        pytest.skip("only root may limit memory")
    groups = []

    def make(limit_mib):
        try:
            groups.append(MemoryGroup(limit_mib * MIB))
        except OSError as error:
            pytest.skip(f"no memory controller here: {error}")
        return groups[-1]

    yield make
    for group in groups:
        group.remove()


@pytest.fixture
def home(tmp_path):
    if subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True).stdout.strip() == "tmpfs":
        pytest.skip("the temporary directory is memory")
    return {"DEEPWELL_HOME": str(tmp_path)}


def generate(home, group, *flags):
    program, _, _, model = model_command()
    return subprocess.run(
        [program, "generate", PROMPT, "-m", model, "-n", "24", "--temp", "0.9", "--ignore-eos", "--json", *flags],
        env={**os.environ, **home}, capture_output=True, text=True, preexec_fn=group and group.enter)


class LimitedServer(Server):
    def __init__(self, command, group, env):
        self.group = group
        super().__init__(command, env)

    def popen(self, command, env):
        return subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=env,
                                preexec_fn=self.group and self.group.enter)


def test_the_first_start_and_the_next_give_the_same_tokens(limited, home):
    expected = json.loads(generate(home, None).stdout)["ids"]
    group = limited(112)  # the weights are 92 MiB, what a step works in is up to 80
    for _ in range(2):  # packs the weights; finds them
        done = generate(home, group, "--packed-image", "auto", "-c", "512")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ids"] == expected
        assert "do not fit into memory" in done.stderr
    assert group.n_killed() == 0


def test_what_leaves_no_room_is_refused_with_a_way_out(limited, home):
    group = limited(112)
    in_memory = generate(home, group, "-c", "2048")
    assert in_memory.returncode != 0 and "--packed-image auto" in in_memory.stderr
    too_long = generate(home, group, "--packed-image", "auto", "-c", "4096")
    assert too_long.returncode != 0 and "use a --ctx-size of at most" in too_long.stderr
    assert group.n_killed() == 0


def ask(server, question):
    answer = server.client().chat.completions.create(
        model=server.model(), messages=[{"role": "user", "content": question}], max_tokens=24, temperature=0)
    return answer.choices[0].message.content


def test_a_long_prompt_and_others_are_answered(limited, home):
    questions = ["Say this again: " + PROMPT * 6, "What is a fox?", "Count to five."]
    command = [*model_command(), "--ctx-size", "1024", "--parallel", "2"]
    answers = []
    for group in (None, limited(160)):
        server = LimitedServer(command, group, home)
        try:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                answers.append(list(pool.map(lambda question: ask(server, question), questions)))
            assert ("do not fit into memory" in server.output()) == (group is not None)
            if group:
                assert group.n_killed() == 0
        finally:
            server.stop()
    assert answers[0] == answers[1]
