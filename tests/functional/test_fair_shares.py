# Two tenants, one of whom asks for far more than its share: the other's turn comes as if it were alone.
import threading
import time

import pytest
from conftest import Server, model_command

N_BUSY = 40
N_TOKENS = 40


@pytest.fixture
def shared(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("busy = key-of-busy\nquiet = key-of-quiet\n")
    keys.chmod(0o600)
    server = Server([*model_command(), "--parallel", "2", "--workers", "0", "--api-key-file", str(keys)],
                    {"DEEPWELL_HOME": str(tmp_path)})
    yield server
    server.stop()


class Asked(threading.Thread):
    """A streamed answer; `first` is when its first text came."""

    def __init__(self, server, tenant, number):
        super().__init__(daemon=True)
        self.client, self.number, self.first, self.text = server.client(api_key=f"key-of-{tenant}"), number, None, ""
        self.start()

    def run(self):
        stream = self.client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": f"Tell me about the number {self.number}."}],
            max_tokens=N_TOKENS, seed=self.number, stream=True, extra_body={"ignore_eos": True})
        for chunk in stream:
            piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
            if piece and self.first is None:
                self.first = time.monotonic()
            self.text += piece


def n_begun(asked):
    return sum(one.first is not None for one in asked)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_busy_tenants_backlog_does_not_delay_the_other(shared, record_property):
    busy = [Asked(shared, "busy", number) for number in range(N_BUSY)]
    wait_until(lambda: n_begun(busy) >= 4)
    n_before = n_begun(busy)
    quiet = Asked(shared, "quiet", N_BUSY)
    wait_until(lambda: quiet.first is not None)
    n_overtakers = n_begun(busy) - n_before
    record_property("busy_answers_begun_meanwhile", n_overtakers)
    for one in [*busy, quiet]:
        one.join(120)
    assert all(one.text for one in busy), "whoever waits longer is served all the same"
    # First-come would let all of the backlog, some 34 answers, go first.
    assert n_overtakers <= 8, f"{n_overtakers} of {N_BUSY} answers went first"
