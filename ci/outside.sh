#!/usr/bin/env bash
# Builds the README's program as a user does, in a package of its own outside of the workspace with
# `kinesis-consumer` and `tokio` as its only dependencies, and runs it against the local stack.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"

folder="$(mktemp -d)" stack=''
clean_up() {
  [ -z "$stack" ] || kill "$stack" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT

mkdir "$folder/src"
cp Cargo.lock "$folder"
cat >"$folder/Cargo.toml" <<END
[package]
name = "kcl-outside"
edition = "2024"

[workspace]

[dependencies]
kinesis-consumer = { path = "$root/kinesis-consumer" }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
END
# The profiles of the workspace, so that dependencies are built once.
awk '/^\[/ { inside = /^\[profile/ } inside' Cargo.toml >>"$folder/Cargo.toml"
awk '/^```/ { if (inside) exit; inside = /^```rust,no_run/; next } inside' README.md >"$folder/src/main.rs"
grep -q 'async fn main' "$folder/src/main.rs" || { echo "README.md begins with no program" >&2; exit 1; }

cargo build --locked -p kcl-local --bin kcl-local
cargo build --manifest-path "$folder/Cargo.toml"

"$CARGO_TARGET_DIR/debug/kcl-local" --demo orders "$CARGO_TARGET_DIR/debug/kcl-outside" >"$folder/out" &
stack=$!
: >>"$folder/out"
for _ in $(seq 300); do
  [ "$(grep -c '^shardId-[0-9]* hello [0-9]*$' "$folder/out")" -ge 5 ] && break
  kill -0 "$stack" 2>/dev/null || { echo "the program ended by itself" >&2; exit 1; }
  sleep 0.1
done
records="$(grep -c '^shardId-[0-9]* hello [0-9]*$' "$folder/out" || true)"
kill -TERM "$stack"
wait "$stack" || { echo "the program did not stop in good order" >&2; exit 1; }
stack=''
[ "$records" -ge 5 ] || { echo "only $records records arrived in 30 s" >&2; exit 1; }
echo "$records records arrived, and SIGTERM stopped the program"
