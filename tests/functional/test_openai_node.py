# The official OpenAI client for Node: node/client.test.mjs runs against each server.
import os
import pathlib
import shutil
import subprocess

import pytest

NODE = pathlib.Path(__file__).parent / "node"


def test_node_client(server, start):
    if not shutil.which("node") or not (NODE / "node_modules" / "openai").exists():
        pytest.skip("the Node client is not installed: run tests/functional/setup.sh")
    env = {**os.environ, "DEEPWELL_URL": server.url}
    if server.is_synthetic:
        env["DEEPWELL_KEYED_URL"] = start("--api-key", "sk-right").url
    run = subprocess.run(["node", "--test", "client.test.mjs"], cwd=NODE, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
