#!/usr/bin/env bash
# Prints everything that happens in one simulated world: ci/replay.sh SCENARIO SEED [MODE].
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked --profile test -p kcl-sim --features cli --bin simulate -- 1 "$2" --scenario "$1" --mode "${3:-counters}" --trace
