#!/usr/bin/env bash
# Says before a first build, not in its middle, that the disk is too small: tools/preflight.sh DIRECTORY MEGABYTES
set -euo pipefail

build_dir=$1
need_mb=$2
if [ -e "$build_dir/build.ninja" ]; then
  exit 0
fi
free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
if [ "$free_mb" -lt "$need_mb" ]; then
  echo "preflight: building into $build_dir needs about $need_mb MB, $free_mb MB are free here; make room and try again" >&2
  exit 1
fi
