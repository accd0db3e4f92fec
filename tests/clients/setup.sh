#!/usr/bin/env bash
# Installs the clients of other languages from their registries, into a folder:
#
#   tests/clients/setup.sh OUT      makes OUT/python (kubernetes, kopf) and OUT/node (@kubernetes/client-node)
#
# It needs python 3.10 with venv and pip, and node 18 with npm. What is there already is kept while the lists are the same.
set -euo pipefail

mkdir -p "${1:?usage: setup.sh OUT}"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"

# Two stories may ask at once.
exec 9>"$out/lock"
flock 9

# === Python ===

if ! cmp -s requirements.txt "$out/python/requirements.txt"; then
  rm -rf "$out/python"
  python3 -m venv "$out/python"
  "$out/python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
  cp requirements.txt "$out/python/"
fi

# === Node ===

if ! cmp -s node/package.json "$out/node/package.json" || [ ! -d "$out/node/node_modules/@kubernetes/client-node" ]; then
  mkdir -p "$out/node"
  rm -rf "$out/node/node_modules"
  cp node/package.json "$out/node/"
  if ! npm install --prefix "$out/node" --no-package-lock --no-audit --no-fund --loglevel=error; then
    rm -f "$out/node/package.json"
    exit 1
  fi
fi
