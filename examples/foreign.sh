#!/usr/bin/env bash
# Builds the hello components of js/ and python/ with their own tools, into a folder:
#
#   examples/foreign.sh OUT      writes OUT/js.wasm and OUT/python.wasm
#
# They carry their language's engine (13 and 18 MB), so they are not kept beside their sources. It needs
# node 20 with npm, and python 3.10 with pip; the tools themselves are fetched into target/, once.
set -euo pipefail

mkdir -p "${1:?usage: foreign.sh OUT}"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
wit=$PWD/wit

# === JavaScript ===

tools=$PWD/target/npm
mkdir -p "$tools"
if ! cmp -s js/package.json "$tools/package.json" || [ ! -x "$tools/node_modules/.bin/componentize-js" ]; then
  cp js/package.json "$tools/"
  npm install --prefix "$tools" --no-package-lock --no-audit --no-fund --loglevel=error
fi
"$tools/node_modules/.bin/componentize-js" js/hello.js --wit "$wit" --world-name hello --out "$out/js.wasm"

# === Python ===

tools=$PWD/target/pip
if ! cmp -s python/requirements.txt "$tools/requirements.txt"; then
  rm -rf "$tools"
  python3 -m pip install --quiet --target "$tools" --requirement python/requirements.txt
  cp python/requirements.txt "$tools/"
fi
PYTHONPATH=$tools "$tools/bin/componentize-py" --wit-path "$wit" --world hello componentize --python-path python app --output "$out/python.wasm"

ls -l "$out/js.wasm" "$out/python.wasm"
