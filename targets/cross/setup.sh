#!/usr/bin/env bash
# Prepares cross compilation to ARM and running what it gives on Debian 12 (amd64, root); running it again changes nothing.
#   targets/cross/setup.sh [triple ...]     default: aarch64 and armv7 with glibc
# Leaves everything of its own under $CROSS_HOME (default /opt/cask-cross) and writes $CROSS_HOME/env.sh to source.
# Elsewhere: `rustup target add TRIPLE` and a C cross compiler are all that is needed.
set -euo pipefail
CROSS_HOME=${CROSS_HOME:-/opt/cask-cross}
TARGETS=("$@")
[ $# -gt 0 ] || TARGETS=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf)
say() { printf '== %s\n' "$*" >&2; }
mkdir -p "$CROSS_HOME"

# 1. The C cross toolchains: crates with C inside (zstd, ring) need them even for `cargo check`. QEMU runs the tests: no
#    binfmt handler is registered, Cargo calls it by name. QEMU_CPU chooses the processor.
packages=()
for package in gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || packages+=("$package")
done
if [ ${#packages[@]} -gt 0 ]; then
  say "apt: ${packages[*]}"
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

cat > "$CROSS_HOME/env.sh" <<'ENV'
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER="qemu-arm -L /usr/arm-linux-gnueabihf"
export CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc AR_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-ar
ENV
. "$CROSS_HOME/env.sh"

# 2. The standard library per target: rustup where it has a network, else built once from Debian's rust-src.
SYSROOT=$(rustc --print sysroot)
RUST_VERSION=$(rustc -vV | sed -n 's/^release: //p')
has_std() { # A target counts as present only when a crate really compiles for it.
  local folder result=0
  folder=$(mktemp -d "$CROSS_HOME/probe.XXXX")
  printf 'pub fn f() -> String { String::from("x") }\n' > "$folder/a.rs"
  (cd "$folder" && rustc --target "$1" --crate-type lib --emit metadata a.rs) >/dev/null 2>&1 || result=1
  rm -rf "$folder"
  return $result
}
rust_src() {
  [ -f "$SYSROOT/lib/rustlib/src/rust/library/Cargo.lock" ] && return 0
  timeout 120 rustup component add rust-src >/dev/null 2>&1 && return 0
  say "rust-src $RUST_VERSION from Debian's backports: unpacked here, not installed"
  local apt="$CROSS_HOME/apt" mirror folder
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | awk '$2 == "bookworm" { print $1; exit }')
  [ -n "$mirror" ] || { say "no Debian mirror is configured"; return 1; }
  echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" > "$apt/sources.list"
  backports() {
    apt-get -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
      -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root "$@"
  }
  backports update
  folder=$(mktemp -d "$CROSS_HOME/deb.XXXX")
  (cd "$folder" && backports download "rust-src=$RUST_VERSION*" >/dev/null && dpkg -x ./*.deb "$CROSS_HOME/rust-src-$RUST_VERSION")
  rm -rf "$folder"
  mkdir -p "$SYSROOT/lib/rustlib/src"
  ln -sfn "$CROSS_HOME/rust-src-$RUST_VERSION/usr/src/rustc-$RUST_VERSION" "$SYSROOT/lib/rustlib/src/rust"
}
build_std() {
  local target=$1 work="$CROSS_HOME/build-std"
  rust_src || return 1
  say "building the standard library for $target"
  rm -rf "$work/target/$target"
  mkdir -p "$work/src"
  printf '[package]\nname = "mkstd"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "src/lib.rs"\n' > "$work/Cargo.toml"
  : > "$work/src/lib.rs"
  # The shipped panic_abort is compiled with panic=abort; without this wrapper such builds are refused.
  printf '#!/bin/sh\ncase " $* " in *" --crate-name panic_abort "*) exec "$@" -Cpanic=abort ;; esac\nexec "$@"\n' > "$work/wrap.sh"
  chmod +x "$work/wrap.sh"
  (cd "$work" && RUSTC_WRAPPER="$work/wrap.sh" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
    RUSTFLAGS="-Cembed-bitcode=yes -Cforce-frame-pointers=non-leaf -Zunstable-options" \
    cargo build --release --target "$target" -Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test >&2) || return 1
  local library="$SYSROOT/lib/rustlib/$target/lib"
  rm -rf "$library"
  mkdir -p "$library"
  find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libmkstd*' -exec cp {} "$library/" \;
}
for target in "${TARGETS[@]}"; do
  if has_std "$target"; then
    say "std for $target: present"
  elif timeout 300 rustup target add "$target" >/dev/null 2>&1 && has_std "$target"; then
    say "std for $target: rustup"
  elif build_std "$target" && has_std "$target"; then
    say "std for $target: built from source"
  else
    say "std for $target: FAILED"
    exit 1
  fi
done
say "ready: . $CROSS_HOME/env.sh"
