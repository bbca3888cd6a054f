#!/usr/bin/env bash
# Makes what the functional tests need beside the built program: a Python environment and the Node client.
#   tests/functional/setup.sh && tests/functional/.venv/bin/pytest tests/functional
set -euo pipefail
cd "$(dirname "$0")"

if ! python3 -m venv .venv; then
  echo "cannot make a Python environment: apt-get install python3-venv" >&2
  exit 1
fi
if ! .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt; then
  echo "cannot install the Python packages of requirements.txt: is a package index reachable?" >&2
  exit 1
fi

if command -v npm >/dev/null; then
  if ! npm install --silent --no-audit --no-fund --prefix node; then
    echo "cannot install the Node packages of node/package.json: is a registry reachable?" >&2
    exit 1
  fi
else
  echo "npm is not installed: the tests of the Node client will be skipped" >&2
fi
