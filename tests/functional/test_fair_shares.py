# Two tenants, one of whom asks for far more than its share: the other's turn comes as if it were alone. And what shares
# and priorities do to the order in which answers begin.
import contextlib
import os
import subprocess
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

    def __init__(self, server, tenant, number, **options):
        super().__init__(daemon=True)
        self.client, self.number, self.first, self.text = server.client(api_key=f"key-of-{tenant}"), number, None, ""
        self.tenant, self.options, self.tier = tenant, options, None
        self.start()

    def run(self):
        stream = self.client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": f"Tell me about the number {self.number}."}],
            max_tokens=N_TOKENS, seed=self.number, stream=True, extra_body={"ignore_eos": True}, **self.options)
        for chunk in stream:
            self.tier = chunk.service_tier
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


@pytest.fixture
def one_place(tmp_path):
    """A synthetic system with one place; the tenants heavy and light, of whom heavy weighs three."""
    program = os.environ.get("DEEPWELL_BIN")
    if not program:
        pytest.skip("DEEPWELL_BIN is not set")
    keys = tmp_path / "keys"
    keys.write_text("heavy = key-of-heavy\nlight = key-of-light\n")
    keys.chmod(0o600)
    (tmp_path / "deepwell.toml").write_text('tenant_weight = ["heavy=3"]\n')
    server = Server([program, "serve", "--synthetic", "--synthetic-pace-us", "1000", "--parallel", "1", "--reattach-grace", "0", "--home", str(tmp_path),
                     "--run-dir", str(tmp_path / "run"), "--api-key-file", str(keys)])
    server.program, server.home = program, tmp_path
    yield server
    server.stop()


def order_of(asked):
    for one in asked:
        one.join(120)
    return sorted(asked, key=lambda one: one.first)


def n_waiting(server):
    page = server.text("/metrics", {"Authorization": "Bearer key-of-light"})
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("deepwell:num_requests_waiting{"))


@contextlib.contextmanager
def held_up(server, n_expected):
    """While the body asks nothing is served; then, when so many wait, all of it."""
    blocker = server.client(api_key="key-of-light").chat.completions.create(
        model="default", messages=[{"role": "user", "content": "Wait."}], max_tokens=8000, stream=True, extra_body={"ignore_eos": True})
    next(iter(blocker))
    yield
    wait_until(lambda: n_waiting(server) >= n_expected)
    blocker.close()


def n_heavy_of_sixteen(server, **of_heavy):
    """Of sixteen answers in a row while both tenants wait."""
    with held_up(server, 48):
        asked = [Asked(server, "heavy", number, **of_heavy) if number % 2 else Asked(server, "light", number)
                 for number in range(48)]
    begun = order_of(asked)[2:18]  # two were with the worker before the others came
    return sum(one.tenant == "heavy" for one in begun)


def configure(server, text):
    (server.home / "deepwell.toml").write_text(text)
    subprocess.run([server.program, "reload", "--run-dir", str(server.home / "run")], check=True, capture_output=True, timeout=120)


def test_shares_follow_weights_also_those_of_a_reload(one_place):
    assert 11 <= n_heavy_of_sixteen(one_place) <= 13, "three of four"
    configure(one_place, 'tenant_weight = ["light=3"]\n')
    assert 3 <= n_heavy_of_sixteen(one_place) <= 5, "one of four"


def test_a_priority_tier_passes_its_own_tenant_and_a_flexible_one_waits(one_place):
    with held_up(one_place, 12):
        usual = [Asked(one_place, "light", number) for number in range(6)]
        wait_until(lambda: n_waiting(one_place) >= 6)
        flexible = Asked(one_place, "light", 6, service_tier="flex")
        wait_until(lambda: n_waiting(one_place) >= 7)
        usual += [Asked(one_place, "light", number) for number in range(7, 11)]
        urgent = Asked(one_place, "light", 11, service_tier="priority")
    order = order_of([*usual, flexible, urgent])
    assert (flexible.tier, urgent.tier, usual[0].tier) == ("flex", "priority", None)
    assert order.index(urgent) == 2, "behind those that the worker has already"
    assert order.index(flexible) == len(order) - 1


def test_whoever_calls_everything_urgent_gets_no_more(one_place):
    configure(one_place, "")
    assert 7 <= n_heavy_of_sixteen(one_place, service_tier="priority") <= 9, "one of two"
