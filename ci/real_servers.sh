#!/usr/bin/env bash
# Runs the conformance tests of lease stores against DynamoDB Local, the real one.
#
#   ci/real_servers.sh              in a container, through testcontainers, if an engine answers (`docker info`);
#                                   otherwise as a process
#   ci/real_servers.sh --process    as a process in any case
#
# Needs cargo, and a JDK 17 and Maven, which it installs with apt-get if it may. Leaves no process running.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

server='' log=''
clean_up() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ -z "$log" ] || rm -f "$log"
}
trap clean_up EXIT

die() {
  echo "real_servers: $*" >&2
  exit 1
}

# The tests print `skipped` and pass if they find no server; here that is a failure.
run_tests() {
  local output
  output="$(mktemp)"
  if ! env "$@" cargo test --locked -p kcl-tests --test dynamo -- --nocapture dynamodb_local 2>&1 | tee "$output"; then
    rm -f "$output"
    die "failed with $*"
  fi
  if grep -q '^skipped' "$output" || ! grep -q 'test result: ok. 1 passed' "$output"; then
    rm -f "$output"
    die "no test ran with $*"
  fi
  rm -f "$output"
}

ensure_java() {
  command -v mvn >/dev/null && command -v jlink >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "java 17 (JDK) and mvn are needed"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jdk-headless maven
}

free_port() {
  local port
  for port in $(shuf -i 20000-32000 -n 50); do
    # A port without a listener.
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  die "no free port"
}

ensure_java
if [ "${1:-}" != --process ] && docker info >/dev/null 2>&1; then
  ci/dynamodb_local_image.sh || die "cannot make the image"
  run_tests KCL_TEST_CONTAINERS=1
else
  ci/dynamodb_local.sh --fetch >/dev/null || die "cannot fetch DynamoDB Local"
  port="$(free_port)"
  log="$(mktemp)"
  ci/dynamodb_local.sh "$port" >"$log" 2>&1 &
  server=$!
  # The tests wait for its answer; a server that has ended never answers.
  sleep 1
  kill -0 "$server" 2>/dev/null || die "DynamoDB Local ended: $(tail -n 5 "$log")"
  run_tests "KCL_TEST_DYNAMODB=http://127.0.0.1:$port"
fi
echo "real_servers: DynamoDB Local keeps the contract"
