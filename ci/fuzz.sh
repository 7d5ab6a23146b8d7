#!/usr/bin/env bash
# Fuzzes every decoder, for SECONDS in all: guided by coverage if cargo-fuzz and a nightly toolchain are
# installed, otherwise on random inputs. A finding ends the run and prints how to replay it.
#
#   ci/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}"
targets=(kpl_frame row position session_progress bulletin_moves cbor_page)
if cargo +nightly fuzz --version >/dev/null 2>&1; then
    for target in "${targets[@]}"; do
        cargo +nightly fuzz run "$target" -- -max_total_time="$((seconds / ${#targets[@]}))"
    done
else
    # Without --release: overflows are findings, and the test profile optimizes the core.
    cargo run --quiet --locked --profile test -p kcl-tests --bin fuzz -- --seconds "$seconds" --seed "$(date +%s)"
fi
