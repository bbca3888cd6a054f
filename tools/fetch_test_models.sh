#!/usr/bin/env bash
# Fetches the two models that the long tests use: tools/fetch_test_models.sh DEEPWELL DIRECTORY
# Afterwards DIRECTORY has smollm2-135m.gguf and qwen2.5-coder-0.5b.gguf; what is there is not fetched again.
set -euo pipefail

deepwell=$1
directory=$2
mkdir -p "$directory"
for name in smollm2:135m qwen2.5-coder:0.5b; do
  file=$directory/${name/:/-}.gguf
  if [ ! -s "$file" ]; then
    "$deepwell" pull "$name" --home "$directory/store"
    stored=$(find "$directory/store/models" -path "*${name/:/*}*" -name '*.gguf' | head -1)
    ln -sf "$(realpath "$stored")" "$file"
  fi
done
