#!/usr/bin/env bash
# Everything CI checks, in the order of cost. `ci/check.sh fast` stops before the slow half.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTDOCFLAGS="${RUSTDOCFLAGS:--Dwarnings}" # RUSTFLAGS would build every dependency again

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# A tool that is not installed is skipped.
tool() {
    if command -v "$1" >/dev/null; then
        step "$@"
    else
        echo "-- skipped (no $1): $*"
    fi
}

core_names_no_sdk() {
    ! cargo tree -p kcl-core --locked --edges normal --prefix none | grep -E '^(aws-|hyper|reqwest|rustls)'
}

proto_is_pure() {
    ! cargo tree -p kcl-proto --locked --edges normal --prefix none | grep -E '^(tokio|tracing|rand|http)[ -]'
}

# TLS and the loader of AWS configurations take half a minute to build.
quickstart_builds_no_tls() {
    ! cargo tree -p quickstart --locked --edges normal,build --prefix none | grep -E '^(aws-lc|aws-config|ring|rustls) '
}

step cargo test --workspace --locked # the README's test command, first
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
step core_names_no_sdk
step proto_is_pure
step quickstart_builds_no_tls
tool typos
step cargo doc --workspace --all-features --locked --no-deps --document-private-items
[[ "${1:-}" == fast ]] && exit 0

for liveness in counter session; do
    step cargo run -p quickstart --locked -- --seconds 15 --liveness "$liveness" # accounts for every record
done
step ci/outside.sh # the README's program, as a user builds it
step cargo publish --workspace --dry-run --no-verify --locked
step ci/fuzz.sh 60
tool cargo-deny --all-features check bans licenses sources
tool shellcheck ci/*.sh .ci/run
step ci/simulate.sh "${KCL_SIM_SEEDS:-1000}" "${KCL_SIM_BASE:-}" # fresh seeds by default; prints the base
step ci/determinism.sh
step ci/exhaustive.sh # prints the number of states
step ci/mutations.sh --smoke
step ci/real_servers.sh
