#!/usr/bin/env bash
# Rebuilds every component that lies beside its sources, then writes components.lock.
#
#   examples/build.sh [NAME]…    build all, or these, and lock
#   examples/build.sh --check    only say whether the sources still are those of components.lock
#
# It builds with what it finds:
#
# 1. A rustup toolchain that has the target (`rustup target add wasm32-wasip2`): plain cargo.
# 2. Otherwise Debian's compiler, which brings the standard library's source, through apt:
#      rustc-web, cargo-web, rust-web-src   1.95 or newer (in bookworm: from the security suite)
#      wasi-libc                            2025 or newer, with lib/wasm32-wasip2; an older suite's
#                                           has preview 1 only, so it is downloaded (not installed)
#                                           from the suite $WASI_LIBC_SUITE, default sid, of the
#                                           mirror apt already uses, into target/, with lists of its own
#    and the linker of any rustup toolchain (`wasm-component-ld`, `wasm-ld`).
#    Installing the packages needs root; when they are there nothing does.
#
# Rebuilding with another compiler gives other bytes for the same sources: that is no fault, the lock
# file names both.
set -euo pipefail
cd "$(dirname "$0")"

TARGET=wasm32-wasip2

# crate, cargo's kind of target, and where its component lies.
COMPONENTS='
hello    lib  hello/hello.wasm
probe    lib  probe/probe.wasm
web      lib  counter/web.wasm
counter  lib  counter/counter.wasm
ticker   bin  ticker/ticker.wasm
hello3   lib  hello3/hello3.wasm
kv       bin  kv/kv.wasm
echo     bin  echo/echo.wasm
chat     bin  chat/chat.wasm
dial     bin  dial/dial.wasm
dial3    lib  dial3/dial3.wasm
box      bin  box/box.wasm
files    lib  two-containers/files.wasm
frontend lib  front-end/frontend.wasm
tls      bin  tls/tls.wasm
keeper   lib  keeper/keeper.wasm
hostile  bin  hostile/hostile.wasm
linked-web    lib  linked/web.wasm
linked-prices lib  linked/prices.wasm
'

# The crate's folder: its sources.
folder() { case $1 in web | counter) echo "counter/$1" ;; files) echo "two-containers/$1" ;; frontend) echo "front-end/$1" ;; linked-*) echo "linked/${1#linked-}" ;; *) echo "$1" ;; esac; }

# The same, with the folders of the crates it shares.
folders() { case $1 in kv | echo | chat) echo "$(folder "$1")+poll" ;; linked-*) echo "$(folder "$1")+linked/wit" ;; *) folder "$1" ;; esac; }

# === the lock ===

# sha256 over the files of stdin (paths relative to here): for each, in byte order of the path, the
# line "<path>\0<length in bytes>\0" followed by the file's bytes.
digest() {
  LC_ALL=C sort | while IFS= read -r file; do
    printf '%s\0%s\0' "$file" "$(($(wc -c <"$file")))"
    cat "$file"
  done | sha256sum | cut -d' ' -f1
}

sources() {
  # shellcheck disable=SC2046
  { find $(folders "$1" | tr + ' ') -type f \( -name '*.rs' -o -name '*.wit' -o -name Cargo.toml \) && printf 'Cargo.toml\nCargo.lock\n'; } | digest
}

lock() {
  cat <<'HEADER'
# Which sources each component was built from. Written by examples/build.sh; checked by the tests.
#
# A line:   <component>  <sha256 of the component>  <sha256 of its sources>  <folders of its crates>
#
# The sources of a component are every *.rs, *.wit and Cargo.toml below its folders (joined by "+"), and the workspace's
# Cargo.toml and Cargo.lock; paths are relative to examples/ and use "/". Their hash is sha256 over the
# files in byte order of their paths, each giving: path, NUL, length in bytes as decimal text, NUL, bytes.
HEADER
  while read -r crate _ component; do
    [ -n "$crate" ] || continue
    printf '%s  %s  %s  %s\n' "$component" "$(sha256sum <"$component" | cut -d' ' -f1)" "$(sources "$crate")" "$(folders "$crate")"
  done <<<"$COMPONENTS"
}

if [ "${1:-}" = --check ]; then
  diff components.lock <(lock) && echo "every component is that of its sources"
  exit
fi

# === the toolchain ===

# No path of the machine that built it goes into a component: crates/NAME/src/lib.rs, not the registry's folder.
cargo fetch --locked --quiet
flags="--remap-path-prefix=$PWD=examples"
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  flags="$flags --remap-path-prefix=$registry=crates"
done

with_rustup() {
  command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$TARGET"
}

# The C library for the target, unpacked; its folder is printed.
wasi_libc() {
  local installed=/usr/lib/$TARGET here=target/wasi-libc
  if [ -e $installed/crt1-reactor.o ]; then echo $installed && return; fi
  if [ ! -e $here/usr/lib/$TARGET/crt1-reactor.o ]; then
    local apt=$PWD/target/apt mirror
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" $here
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${WASI_LIBC_SUITE:-sid} main" >"$apt/sources.list"
    local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists"
      -o "Dir::Cache=$apt/cache" -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=)
    apt-get "${options[@]}" update >&2
    (cd "$apt" && rm -f wasi-libc_*.deb && apt-get "${options[@]}" download wasi-libc >&2)
    dpkg -x "$apt"/wasi-libc_*.deb $here
  fi
  echo "$PWD/$here/usr/lib/$TARGET"
}

with_debian() {
  local missing=()
  for package in rustc-web cargo-web rust-web-src; do
    dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing+=($package)
  done
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get install -y --no-install-recommends "${missing[@]}" >&2
  fi
  tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
  libc=$(wasi_libc)
  export RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc
  flags="$flags --remap-path-prefix=$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust=rust -Clinker=$tools/wasm-component-ld \
    -Clink-self-contained=no -Clink-arg=--wasm-ld-path -Clink-arg=$tools/gcc-ld/wasm-ld -Clink-arg=-L$libc"
}

# build CRATE KIND
build() {
  if [ -z "${libc:-}" ]; then
    cargo build --locked --release --target $TARGET -p "$1"
  else
    local start=crt1-reactor.o
    [ "$2" = lib ] || start=crt1-command.o
    # Only the last link differs, so the standard library is built once for both kinds.
    /usr/bin/cargo rustc --locked --release -Zbuild-std=std,panic_abort --target $TARGET -p "$1" -- -Clink-arg="$libc/$start"
  fi
}

# === the work ===

with_rustup || with_debian
export RUSTFLAGS="$flags"
while read -r crate kind component; do
  [ -n "$crate" ] || continue
  [ $# = 0 ] || [[ " $* " == *" $crate "* ]] || continue
  build "$crate" "$kind" </dev/null
  cp "target/$TARGET/release/${crate//-/_}.wasm" "$component"
done <<<"$COMPONENTS"
lock >components.lock
grep -v '^#' components.lock
