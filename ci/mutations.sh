#!/usr/bin/env bash
# Breaks the protocol on purpose, one bug after the other, and prints which test notices.
#
#   ci/mutations.sh                   all of ci/mutations.txt
#   ci/mutations.sh --smoke           a few of them, by unit tests and the exhaustive check only
#   ci/mutations.sh --only NAME       one of them; can be repeated
#   ci/mutations.sh --stage STAGE     by this stage only: unit, exhaustive, dynamo, engine,
#                                     simulation or regressions
#   ci/mutations.sh --part K/N        the K-th of every N: parts with build folders of their own
#                                     (CARGO_TARGET_DIR) can run side by side
#
# Prints a table: the mutation, a stage that catches it, and by which test; for the simulation, how many seeds it
# took. The stage that caught it last, by docs/reports/proof.md, comes first, then all in their order. Fails if nothing catches a mutation, or if its text is no longer in the code.
# Works on a copy of the checkout, in the build folder. SEEDS (500) bounds the simulation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds="${SEEDS:-500}"
base="${BASE:-1}"
stages=(unit exhaustive dynamo engine simulation regressions)
only='' smoke='' part_number=0 parts=1
while [ $# -gt 0 ]; do
  case "$1" in
    --smoke) smoke=1 stages=(unit exhaustive) ;;
    --only) only="$only $2 " && shift ;;
    --stage) stages=("$2") && shift ;;
    --part) part_number="$((${2%/*} - 1))" parts="${2#*/}" && shift ;;
    *) echo "mutations: what is $1?" >&2 && exit 2 ;;
  esac
  shift
done

# What `--smoke` runs: a mutation of settling writes, one of the machine, one of expiry.
smoke_names=' settle-by-content renewal-forgets-progress-while-draining expiry-at-second-sighting '

build="${CARGO_TARGET_DIR:-$PWD/target}/mutations"
copy="$build/checkout"
mkdir -p "$copy"
files() { git ls-files -z --cached --others --exclude-standard | LC_ALL=C sort -z; }
# Unchanged files keep their time, so that nothing is built twice.
# shellcheck disable=SC2016 # The inner shell expands.
files | xargs -0 sh -c '
  copy="$1"; shift
  for file; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$copy/$file" || { mkdir -p "$copy/$(dirname "$file")"; cp "$file" "$copy/$file"; }
  done' sh "$copy"
# Deleted files would be built as well.
(cd "$copy" && find . -type f -printf '%P\0' | LC_ALL=C sort -z) | LC_ALL=C comm -z -13 <(files) - |
  (cd "$copy" && xargs -0 -r rm -f)
export CARGO_TARGET_DIR="$build/target"

log="$build/log"
caught_by=''

# Runs a stage; true if it fails, with what failed in `caught_by`.
catches() {
  local stage="$1" file="$2" compile='' run
  case "$stage" in
    unit) run='cargo test --locked -p kcl-proto -p kcl-core --lib -- --skip interleavings' ;;
    exhaustive) run='cargo test --locked -p kcl-proto --lib -- interleavings' ;;
    dynamo)
      [[ "$file" == kcl-dynamo/* ]] || return 1
      run='cargo test --locked -p kcl-dynamo --lib && cargo test --locked -p kcl-tests --test dynamo'
      compile='cargo test --locked -p kcl-tests --test dynamo --no-run'
      ;;
    engine) # Worlds and runtimes whose time is virtual.
      run='cargo test --locked -p kcl-tests --test engine --test java_latest --test lease_panic --test settle'
      ;;
    simulation)
      # In groups of 50: most bugs show early.
      run="for first in \$(seq $base 50 $((base + seeds - 1))); do ci/simulate.sh 50 \$first || exit 1; done"
      compile='ci/simulate.sh 0 1'
      ;;
    regressions) run='cargo test --locked -p kcl-tests --test simulation' ;; # Once-broken worlds, and loads.
    *) echo "mutations: there is no stage $stage" >&2 && exit 2 ;;
  esac
  if ! (cd "$copy" && sh -c "${compile:-${run%% -- *} --no-run}") >"$log" 2>&1; then
    cat "$log" >&2
    caught_by='does not compile'
    return
  fi
  # A test that does not end has noticed the bug as well.
  if (cd "$copy" && timeout 900 sh -c "$run") >"$log" 2>&1; then
    return 1
  fi
  if [ "$stage" = simulation ]; then
    # BROKEN seed N: TIME s: ORACLE is broken..., then the command that shows it again: ci/replay.sh SCENARIO SEED [MODE].
    caught_by="$(awk '/^BROKEN/ { what = / is broken/ ? $6 : "it ended otherwise" }
      / ci\/replay.sh / { print what ": " $2, $3; exit }' "$log")"
    if [ -n "$caught_by" ]; then
      caught_by="$caught_by, seed $((${caught_by##* } - base + 1))"
    fi
  else
    caught_by="$(sed -nE 's/^test (.*::)?([a-z_0-9]+) \.\.\. FAILED$/\2/p' "$log" | head -n 1)"
  fi
  [ -n "$caught_by" ] || caught_by='(did not end)'
}

# A stage that fails without a mutation proves nothing.
baseline() {
  local stage
  name='nothing'
  for stage in "${stages[@]}"; do
    if catches "$stage" kcl-dynamo/; then
      echo "mutations: $stage fails without any mutation: $caught_by" >&2
      exit 1
    fi
  done
  name=''
}

survivors=0
apply_and_test() {
  local text before="$copy/.mutated" stage
  text="$(cat "$copy/$file"; echo x)" # The x keeps the newlines at the end.
  text="${text%x}"
  if [[ "$text" != *"$old"* ]]; then
    echo "mutations: $name does not apply: $file no longer contains" >&2
    printf '%s\n' "$old" >&2
    survivors=$((survivors + 1))
    return
  fi
  cp -p "$copy/$file" "$before"
  printf '%s' "${text/"$old"/"$new"}" >"$copy/$file"
  local result='' last
  last="$(awk -F ' [|] ' -v name="| \`$name\`:" 'index($0, name) == 1 { print $2 }' docs/reports/proof.md)"
  for stage in $(printf '%s\n' "${stages[@]}" | awk -v last="$last" '
    $0 == last { print } { all[NR] = $0 } END { for (i = 1; i <= NR; i++) if (all[i] != last) print all[i] }'); do
    if catches "$stage" "$file"; then
      result="$stage"
      break
    fi
  done
  cp "$before" "$copy/$file" # With a new time, so that it is built again.
  rm -f "$before"
  if [ -z "$result" ] || [ "$caught_by" = 'does not compile' ]; then
    survivors=$((survivors + 1))
    result='**nothing**'
  fi
  printf '| %s | %s | %s |\n' "\`$name\`: $what" "$result" "${caught_by:+\`$caught_by\`}"
  caught_by=''
}

baseline
echo '| Mutation | Caught by | Test or seed |'
echo '|---|---|---|'
count=0 position=0
name='' what='' file='' old='' new='' part=''
finish() {
  [ -n "$name" ] || return 0
  old="${old%$'\n'}" new="${new%$'\n'}"
  if [ -n "$only" ] && [[ "$only" != *" $name "* ]]; then return 0; fi
  if [ -n "$smoke" ] && [[ "$smoke_names" != *" $name "* ]]; then return 0; fi
  position=$((position + 1))
  if [ $(((position - 1) % parts)) != "$part_number" ]; then return 0; fi
  count=$((count + 1))
  apply_and_test
}
while IFS= read -r line || [ -n "$line" ]; do
  case "$line" in
    '### '*)
      finish
      name="${line#\#\#\# }" what='' file='' old='' new='' part=head
      ;;
    '--- '*) file="${line#--- }" part=old ;;
    '+++') part=new ;;
    *)
      case "$part" in
        head) what="$what${what:+ }$line" ;;
        old) old="$old$line"$'\n' ;;
        new) new="$new$line"$'\n' ;;
      esac
      ;;
  esac
done <ci/mutations.txt
finish
echo
echo "$count mutations, $survivors caught by nothing"
[ "$count" -gt 0 ] && [ "$survivors" = 0 ]
