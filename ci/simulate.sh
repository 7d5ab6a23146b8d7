#!/usr/bin/env bash
# Simulates fleets through storms of faults: ci/simulate.sh [SEEDS [BASE]] [--scenario NAME].
# Without a scenario, some worlds of each scenario that has no turn follow, fewer where they take
# long.
# Without a base the seeds are fresh each time. A broken promise is printed with the command that
# replays it.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds="${1:-5000}"
base="${2:-$((RANDOM * 32768 * 32768 + RANDOM * 32768 + RANDOM))}"

simulate() {
    cargo run --quiet --locked --profile test -p kcl-sim --features cli --bin simulate -- "$@"
}

simulate "$seeds" "$base" "${@:3}"
if [ "$#" -lt 3 ]; then
    simulate $((seeds / 25)) "$base" --scenario capped
    simulate $((seeds / 25)) "$base" --scenario frozen-holders
    simulate $((seeds / 25)) "$base" --scenario pushed
    simulate $((seeds / 25)) "$base" --scenario credentials
    simulate $((seeds / 200)) "$base" --scenario throttled
    simulate $((seeds / 330)) "$base" --scenario large
fi
