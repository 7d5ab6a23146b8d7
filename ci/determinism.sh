#!/usr/bin/env bash
# One seed gives the same world in two processes, byte for byte: ci/determinism.sh [SEED].
set -euo pipefail
cd "$(dirname "$0")/.."
seed="${1:-$RANDOM}"
traces="$(mktemp -d)"
trap 'rm -rf "$traces"' EXIT
for scenario in mixed reshards drift bootstrap per-key acks; do
    # A world that breaks a promise is as good as another here.
    ci/replay.sh "$scenario" "$seed" >"$traces/one" || true
    ci/replay.sh "$scenario" "$seed" >"$traces/other" || true
    # The last lines tell what it cost.
    sed -i '/simulated hours in/d' "$traces/one" "$traces/other"
    cmp "$traces/one" "$traces/other"
    echo "$scenario $seed: the same $(wc -l <"$traces/one") lines twice"
done
