#!/usr/bin/env bash
# Whether the program compiles for the machines it is carried to: aarch64, and static binaries with musl.
#
#   .ci/cross.sh            checks
#   .ci/cross.sh build      builds, into target/TARGET/release/coracle
#
# Wants rustup (for the targets) and, on Debian, the packages gcc-aarch64-linux-gnu and musl-tools (for the C in ring and mimalloc),
# which it installs when it is root. What cannot be had is said, and fails nothing: then only the dependencies are resolved.
set -euo pipefail
cd "$(dirname "$0")/.."
how=${1:-check}
targets=(aarch64-unknown-linux-gnu aarch64-unknown-linux-musl x86_64-unknown-linux-musl)

tools=(gcc-aarch64-linux-gnu musl-tools)
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] && ! dpkg --status "${tools[@]}" >/dev/null 2>&1; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${tools[@]}" libc6-dev-arm64-cross >/dev/null ||
    echo "cannot install ${tools[*]}"
fi
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc CC_x86_64_unknown_linux_musl=musl-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Rust brings musl's own objects; the linker of this machine knows no aarch64.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld

compiled=0
for target in "${targets[@]}"; do
  if rustup target list --installed | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1; then
    if [ "$how" = build ]; then
      cargo build --locked --release --package cli --target "$target"
    else
      cargo check --locked --package cli --target "$target"
    fi
    echo "$target: compiles"
    compiled=$((compiled + 1))
  else
    cargo tree --locked --quiet --package cli --target "$target" --edges normal,build >/dev/null
    echo "$target: not compiled, for rustup cannot bring it here; its $(cargo tree --locked --quiet --package cli --target "$target" --edges normal,build --prefix none | sort -u | wc -l) dependencies resolve"
  fi
done
echo "$compiled of ${#targets[@]} compiled"
