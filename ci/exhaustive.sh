#!/usr/bin/env bash
# Explores every interleaving of two workers and one lease, within the bounds of
# kcl-proto/src/tests/interleavings/scopes.rs, and prints the number of states.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output="$(mktemp)"
trap 'rm -f "$output"' EXIT
if ! KCL_EXHAUSTIVE=1 cargo test --locked -p kcl-proto --lib -- --nocapture interleavings >"$output" 2>&1; then
  cat "$output" >&2
  exit 1
fi
grep -E 'states +[0-9]+ steps' "$output" | sort
awk '/states +[0-9]+ steps/ { for (i = 2; i <= NF; i++) if ($i == "states") states += $(i - 1) }
  END { if (!states) exit 1; print states " states, and no rule broken" }' "$output"
