# Drills that need more than a server: a link to cut, a memory group to empty.
#
# Asserted is what does not depend on the speed of the machine: that the deed was done and noticed, and that no answer
# was lost, changed or cut. The report with its times is printed.
import json
import os
import subprocess

import pytest

from cut_off import need_root_and
from test_cut_off import remote_system  # noqa: F401
from test_unbroken import named, serve  # noqa: F401

TIMES = {"pause_p99_ms", "detection_ms", "recovery_ms"}
MEMORY_V1 = "/sys/fs/cgroup/memory"


def drill(server, name, *flags):
    done = subprocess.run([server.program, "drill", name, "--port", str(server.port), "--run-dir", server.run_dir, "--json",
                           *flags], capture_output=True, text=True, timeout=180)
    print(f"\n{name}: exit status {done.returncode}\n{done.stderr}")
    assert done.returncode in (0, 4), done.stderr
    report = json.loads(done.stdout)
    for check in report["checks"]:
        print(f"  {check['what']}: {check['value']} (limit {check['limit']}) {'ok' if check['kept'] else 'FAILED'}")
        assert check["kept"] or (check["what"] in TIMES and check["value"] is not None), check
    return report


LOAD = ["--streams", "40", "--max-tokens", "300", "--pace-ms", "10", "--hold", "2", "--seconds", "5"]


def test_net_cut_takes_a_link_down(remote_system):  # noqa: F811
    server, islands, _ = remote_system
    drill(server, "net-cut", "--cut-interface", islands[0].link, *LOAD)


def test_net_cut_resets_connections(remote_system):  # noqa: F811
    need_root_and("ss")
    server, _, _ = remote_system
    drill(server, "net-cut", *LOAD)


@pytest.fixture
def memory_groups():
    """Makes a group of cgroup v1 for one process; the drill finds it by itself."""
    need_root_and()
    if not os.path.exists(os.path.join(MEMORY_V1, "memory.limit_in_bytes")):
        pytest.skip("the memory controller of cgroup v1 is not mounted")
    made = []

    def take(pid):
        path = os.path.join(MEMORY_V1, f"deepwell-test-{pid}")
        os.mkdir(path)
        made.append(path)
        with open(os.path.join(path, "cgroup.procs"), "w") as file:
            file.write(str(pid))

    yield take
    for path in made:
        with open(os.path.join(path, "cgroup.procs")) as file:
            for pid in file.read().split():
                with open(os.path.join(MEMORY_V1, "cgroup.procs"), "w") as root:
                    root.write(pid)
        os.rmdir(path)


def test_oom_by_the_kernel(serve, memory_groups):  # noqa: F811
    server = named(serve("--workers", "2", "--threads", "1", with_model=True))
    for row in server.children("worker"):
        memory_groups(row["pid"])
    report = drill(server, "oom", "--streams", "8", "--max-tokens", "64", "--seconds", "5")
    assert "memory" in report["strikes"][0]["what"]
    assert any("worker" in name for name in server.incidents())
