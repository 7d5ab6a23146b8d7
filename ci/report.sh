#!/usr/bin/env bash
# Writes docs/reports/proof.md: what the exhaustive check, the simulator and the mutations found, with today's date.
#
#   ci/report.sh              all parts; this takes an hour or more
#   ci/report.sh PART...      only these: states, worlds, mutations or simulation-alone; the others keep their date
#
# SEEDS (50000) is the number of simulated worlds; ci/mutations.sh has its own default. MUTATIONS names files with the
# output of ci/mutations.sh, of its parts or of single mutations, if it has run already: the last one counts.
# shellcheck disable=SC2016 # Backticks of Markdown.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

report=docs/reports/proof.md
all=(states worlds mutations simulation-alone)
parts=("$@")
[ $# -gt 0 ] || parts=("${all[@]}")

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# 1234567 as 1,234,567.
grouped() { sed -E ':a; s/([0-9])([0-9]{3})($|[^0-9])/\1,\2\3/; ta' <<<"$1"; }

states() {
  ci/exhaustive.sh >"$work/output"
  printf 'By `ci/exhaustive.sh`, on %s.\n\n| Scope | States | Steps | Depth |\n|---|---|---|---|\n' "$(date -I)"
  sed -nE 's/^(.*[^ ]) +([0-9]+) states +([0-9]+) steps, ([0-9]+) deep$/\1\t\2\t\3\t\4/p' "$work/output" |
    while IFS=$'\t' read -r scope states steps depth; do
      printf '| %s | %s | %s | %s |\n' "$scope" "$(grouped "$states")" "$(grouped "$steps")" "$depth"
    done
  printf '\nIn all: %s states.\n' "$(grouped "$(awk 'END { print $1 }' "$work/output")")"
}

worlds() {
  ci/simulate.sh "${SEEDS:-50000}" >"$work/output"
  printf 'By `ci/simulate.sh`, on %s: no promise was broken in\n%s.\n\n| Fault | Fired |\n|---|---|\n' \
    "$(date -I)" "$(head -n 1 "$work/output")"
  sed -nE '2,$s/^([a-z -]+[a-z]) +([0-9]+)$/\1\t\2/p' "$work/output" | while IFS=$'\t' read -r fault count; do
    printf '| `%s` | %s |\n' "$fault" "$(grouped "$count")"
  done
  printf '\n%s.\n' "$(sed -nE 's/^slowest to heal/Slowest to heal/p' "$work/output")"
}

# The rows of all files in the order of ci/mutations.txt.
mutation_rows() {
  awk '
    FILENAME == "ci/mutations.txt" { if (/^### /) names[++count] = substr($0, 5); next }
    /^[|] `/ { name = $0; sub(/^[|] `/, "", name); sub(/`.*/, "", name); rows[name] = $0 }
    END {
      print "| Mutation | Caught by | Test or seed |\n|---|---|---|"
      for (i = 1; i <= count; i++) { print rows[names[i]]; missed += rows[names[i]] !~ /[|] [a-z]+ [|]/ }
      printf "\n%d mutations, %d caught by nothing\n", count, missed
      exit missed > 0
    }' ci/mutations.txt "$@"
}

mutations() {
  if [ -n "${MUTATIONS:-}" ]; then
    read -ra files <<<"$MUTATIONS"
    mutation_rows "${files[@]}" >"$work/output"
  else
    ci/mutations.sh >"$work/output"
  fi
  printf 'By `ci/mutations.sh`, on %s. If several tests notice a mutation, the table names one.\n\n' "$(date -I)"
  cat "$work/output"
}

simulation_alone() {
  # A mutation that only the unit tests catch makes this stage fail; the report names it.
  ci/mutations.sh --stage simulation >"$work/output" || true
  printf 'By `ci/mutations.sh --stage simulation`, on %s.\n\n' "$(date -I)"
  cat "$work/output"
}

title() {
  case "$1" in
    states) echo '## Every interleaving' ;;
    worlds) echo '## Simulated worlds' ;;
    mutations) echo '## Mutations' ;;
    simulation-alone) echo '## Mutations, by the simulation alone' ;;
    *) echo "report: there is no part $1" >&2 && exit 2 ;;
  esac
}

for part in "${parts[@]}"; do
  title "$part" >/dev/null
done
{
  printf '%s\n' '# Proof' '' 'Written by `ci/report.sh`; [testing](../internals/testing.md) explains the parts.'
  for part in "${all[@]}"; do
    printf '\n%s\n\n' "$(title "$part")"
    if [[ " ${parts[*]} " == *" $part "* ]]; then
      "${part//-/_}" >"$work/part"
      cat "$work/part"
    else
      awk -v title="$(title "$part")" '/^## / { on = $0 == title; next } on' "$report" | sed -e '1{/^$/d}' -e '${/^$/d}'
    fi
  done
} >"$work/report"
cp "$work/report" "$report"
