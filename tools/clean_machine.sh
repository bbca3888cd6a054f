#!/usr/bin/env bash
# Proves the README's two commands on a bare Debian 12: debootstrap, git, make, a clone of HEAD, and nothing else.
#
#   sudo tools/clean_machine.sh DIRECTORY
#
# DIRECTORY must not exist yet; it is left behind for a look (remove it yourself). Needs debootstrap and curl.
# Environment: MIRROR  the Debian mirror (default: debootstrap's own choice)
#              PORT    where `make run` listens (default 8080; the root shares this machine's network)
#              CA_DIR  a directory of extra CA certificates (*.crt) that this site's network needs
#              PIP_CONF  a pip.conf that this site's network needs
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$1
port=${PORT:-8080}
repository=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "clean_machine: chroot needs root; call it with sudo" >&2; exit 1; }
[ ! -e "$root" ] || { echo "clean_machine: $root exists; name a new directory" >&2; exit 1; }

server_pid=
cleanup() {
  if [ -n "$server_pid" ]; then kill -TERM "$server_pid" 2> /dev/null || true; wait "$server_pid" 2> /dev/null || true; fi
  umount "$root/dev/shm" "$root/dev" "$root/sys" "$root/proc" 2> /dev/null || true
}
trap cleanup EXIT

note() { printf '\n=== %s: %s\n' "$(date +%T)" "$*"; }
# An array, not a function: in the background `$!` must be the command itself, so that a signal reaches it.
inside=(chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin)
timed() {
  local start=$SECONDS
  "$@"
  note "took $((SECONDS - start)) s: ${*: -1}"
}

note "debootstrap"
debootstrap --variant=minbase --include=git,make bookworm "$root" ${MIRROR:+"$MIRROR"} > "$root.debootstrap.log" 2>&1 ||
  { tail -5 "$root.debootstrap.log" >&2; exit 1; }
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
if [ -n "${CA_DIR:-}" ]; then install -D -m 644 -t "$root/usr/local/share/ca-certificates" "$CA_DIR"/*.crt; fi
if [ -n "${PIP_CONF:-}" ]; then cp "$PIP_CONF" "$root/etc/pip.conf"; fi
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"

git clone -q --bare "$repository" "$root/srv/deepwell.git"
"${inside[@]}" git clone -q /srv/deepwell.git /root/deepwell
note "commit $(git -C "$repository" rev-parse --short HEAD), $(nproc) cores"

note "make run"
start=$SECONDS
"${inside[@]}" make -C /root/deepwell run PORT="$port" > "$root/make-run.log" 2>&1 &
server_pid=$!
until curl -fsS "http://127.0.0.1:$port/healthz" > /dev/null 2>&1; do
  kill -0 "$server_pid" 2> /dev/null || { echo "make run ended:" >&2; tail -30 "$root/make-run.log" >&2; exit 1; }
  sleep 2
done
note "make run serves after $((SECONDS - start)) s"
tail -15 "$root/make-run.log"

ask() {
  note "question: $1"
  curl -fsS "http://127.0.0.1:$port/v1/chat/completions" -H 'content-type: application/json' \
    -d "{\"model\":\"default\",\"max_tokens\":64,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}"
  echo
}
ask "用一句话介绍一下北京。"
ask "What is the capital of France? Answer in one sentence."
kill -TERM "$server_pid"
wait "$server_pid" || true
server_pid=

note "make run, the second time"
start=$SECONDS
"${inside[@]}" make -C /root/deepwell run PORT="$port" > "$root/make-run-2.log" 2>&1 &
server_pid=$!
until curl -fsS "http://127.0.0.1:$port/healthz" > /dev/null 2>&1; do
  kill -0 "$server_pid" 2> /dev/null || { tail -30 "$root/make-run-2.log" >&2; exit 1; }
  sleep 0.2
done
note "the second make run serves after $((SECONDS - start)) s"
kill -TERM "$server_pid"
wait "$server_pid" || true
server_pid=

note "make test"
timed "${inside[@]}" make -C /root/deepwell test
