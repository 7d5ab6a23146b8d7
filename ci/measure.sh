#!/usr/bin/env bash
# Measures in the release profile; prints one JSON line for each row of docs/internals/performance.md.
#
#   ci/measure.sh fleet [--trials N] [--only ROW] [--liveness counter|session] [--expiry-ms MS]
#   ci/measure.sh kpl
#   ci/measure.sh large [--only ROW]
#   ci/measure.sh memory
#   ci/measure.sh per-key [--trials N]
#   ci/measure.sh sessions
#   ci/measure.sh throughput [--trials N]
set -euo pipefail
cd "$(dirname "$0")/.."
what="${1:?what to measure: fleet, kpl, large, memory, per-key, sessions or throughput}"
shift
if [[ "$what" == kpl ]]; then
    exec cargo bench --quiet --locked -p kcl-proto --bench kpl
fi
large() {
    cargo run --quiet --release --locked -p kcl-sim --features cli --bin large -- "$@"
}
if [[ "$what" == sessions ]]; then
    large --only sessions
    large --only counters # the same fleets, classical
    exit
fi
if [[ "$what" == large ]]; then
    large "$@"
fi
cargo build --quiet --release --locked -p kcl-tests --bins
target="$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
if [[ "$what" == throughput ]]; then
    exec "$target/release/throughput" "$@"
fi
exec "$target/release/measure" "$what" --worker "$target/release/fleet_worker" "$@"
