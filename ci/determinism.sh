#!/usr/bin/env bash
# One seed gives the same world in two processes, byte for byte, in every scenario: ci/determinism.sh [SEED].
set -euo pipefail
cd "$(dirname "$0")/.."
seed="${1:-$RANDOM}"
traces="$(mktemp -d)"
trap 'rm -rf "$traces"' EXIT

# Everything that happens in a world. A world that breaks a promise is fine here; one without an end is not.
trace() {
    ci/replay.sh "$1" "$seed" >"$traces/all" || true
    if ! grep -q ' simulated hours in ' "$traces/all"; then
        echo "determinism: $1 $seed did not come to its end" >&2
        return 1
    fi
    sed '/ simulated hours in /,$d' "$traces/all" # The last lines are the cost.
}

mapfile -t scenarios < <(sed -nE 's/^ +Self::[A-Za-z]+ => "(.+)",$/\1/p' kcl-sim/src/scenario.rs)
for scenario in "${scenarios[@]:?no scenario is named}"; do
    trace "$scenario" >"$traces/one"
    trace "$scenario" >"$traces/other"
    if ! [ -s "$traces/one" ]; then
        echo "determinism: nothing happens in $scenario $seed" >&2
        exit 1
    fi
    cmp "$traces/one" "$traces/other"
    echo "$scenario $seed: the same $(wc -l <"$traces/one") lines twice"
done
