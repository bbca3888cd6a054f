#!/usr/bin/env bash
# Installs the system packages that a target of the Makefile needs: tools/bootstrap.sh build|test
# Does nothing, and needs no root and no network, when they are all there.
set -euo pipefail

build_packages=(
  g++ cmake ninja-build git ca-certificates
  libboost1.81-dev libboost-url1.81-dev libssl-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libsqlite3-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libtomlplusplus-dev libedit-dev prometheus-cpp-dev
  python3 python3-pip # `deepwell pull` fetches from package indexes through pip
)
test_packages=(libgtest-dev clang-format codespell shellcheck python3-venv)

fail() {
  printf 'bootstrap: %s\n' "$@" >&2
  exit 1
}

case "${1:-}" in
  build) wanted=("${build_packages[@]}") ;;
  test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
  *) fail "say what for: tools/bootstrap.sh build|test" ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  fail "this system has no apt; install the equivalents of these Debian 12 packages, then call make with BOOTSTRAP=:" \
    "  ${wanted[*]}"
fi

missing=()
for package in "${wanted[@]}"; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)" != installed ]; then
    missing+=("$package")
  fi
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

free_mb=$(df -Pm /usr | awk 'NR == 2 { print $4 }')
if [ "$free_mb" -lt 1500 ]; then
  fail "the system packages need about 1500 MB in /usr, $free_mb MB are free; make room and try again"
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    fail "these packages are missing and installing them needs root, but there is no sudo here; as root run:" \
      "  apt-get install --no-install-recommends ${missing[*]}"
  fi
  as_root=(sudo)
fi

echo "bootstrap: installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q)
if ! "${apt[@]}" update; then
  fail "apt-get update failed (see above): is there a network, and does /etc/apt name a mirror that answers?"
fi
if ! "${apt[@]}" install --no-install-recommends "${missing[@]}"; then
  fail "apt-get install failed (see above); this project is built on Debian 12 (bookworm) packages"
fi
