#!/usr/bin/env bash
# Runs the conformance tests of lease stores against DynamoDB Local, the real one, and a small fleet on each of two
# Kinesis emulators: moto and kinesis-mock.
#
#   ci/real_servers.sh              in a container, through testcontainers, if an engine answers (`docker info`);
#                                   otherwise as a process
#   ci/real_servers.sh --process    as a process in any case
#
# Needs cargo, and a JDK 17 and Maven, which it installs with apt-get if it may. An emulator whose runtime (Python 3;
# Node.js with npm) is missing is skipped. Leaves no process running.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

server='' log=''
stop_server() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ -z "$log" ] || rm -f "$log"
  server='' log=''
}
trap stop_server EXIT

die() {
  echo "real_servers: $*" >&2
  exit 1
}

# Runs one test with a server. The tests print `skipped` and pass if they find none; here that is a failure.
run_test() { # TARGET TEST VARIABLE=VALUE
  local output
  output="$(mktemp)"
  if ! env "$3" cargo test --locked -p kcl-tests --test "$1" -- --nocapture "$2" 2>&1 | tee "$output"; then
    rm -f "$output"
    die "$2 failed with $3"
  fi
  if grep -q '^skipped' "$output" || ! grep -q 'test result: ok. 1 passed' "$output"; then
    rm -f "$output"
    die "$2 did not run with $3"
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

# Starts a server that listens on $port, and waits until it does.
serve() { # COMMAND...
  log="$(mktemp)"
  "$@" "$port" >"$log" 2>&1 &
  server=$!
  local try
  for try in $(seq 300); do
    kill -0 "$server" 2>/dev/null || die "$* ended after $try tries: $(tail -n 5 "$log")"
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
    sleep 0.2
  done
  die "$* does not listen: $(tail -n 5 "$log")"
}

# Runs a fleet on an emulator, unless the program that runs it is missing.
fleet_on() { # EMULATOR TEST VARIABLE RUNTIME
  if ! command -v "$4" >/dev/null; then
    echo "real_servers: skipped $1: $4 is not installed"
    return
  fi
  ci/kinesis_emulator.sh "$1" --fetch || die "cannot fetch $1"
  port="$(free_port)"
  serve ci/kinesis_emulator.sh "$1"
  run_test emulators "$2" "$3=http://127.0.0.1:$port"
  stop_server
  echo "real_servers: a fleet works on $1"
}

ensure_java
if [ "${1:-}" != --process ] && docker info >/dev/null 2>&1; then
  ci/dynamodb_local_image.sh || die "cannot make the image"
  run_test dynamo dynamodb_local KCL_TEST_CONTAINERS=1
else
  ci/dynamodb_local.sh --fetch >/dev/null || die "cannot fetch DynamoDB Local"
  port="$(free_port)"
  serve ci/dynamodb_local.sh
  run_test dynamo dynamodb_local "KCL_TEST_DYNAMODB=http://127.0.0.1:$port"
  stop_server
fi
echo "real_servers: DynamoDB Local keeps the contract"

fleet_on moto fleet_works_on_moto KCL_TEST_MOTO python3
fleet_on kinesis-mock fleet_works_on_kinesis_mock KCL_TEST_KINESIS_MOCK npm
