#!/usr/bin/env bash
# Simulates fleets through storms of faults: ci/simulate.sh [SEEDS [BASE]] [--scenario NAME].
# Without a scenario, 20 worlds of each scenario under load follow, always the same ones: a few fresh
# ones in a hundred still break a promise. tests/REGRESSIONS lists such seeds as open.
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
    for scenario in capped large throttled credentials; do
        simulate 20 0 --scenario "$scenario"
    done
fi
