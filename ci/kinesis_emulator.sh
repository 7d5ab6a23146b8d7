#!/usr/bin/env bash
# Serves a Kinesis emulator of others as a process: no container engine, no AWS account.
#
#   ci/kinesis_emulator.sh moto|kinesis-mock PORT     serve PORT of the loopback interface until the process ends
#   ci/kinesis_emulator.sh moto|kinesis-mock --fetch  only fetch
#
# The script becomes the server's process, so that `kill $!` ends a server that was started in the background.
# moto needs Python 3, kinesis-mock Node.js and npm. Both stay in ${XDG_CACHE_HOME:-~/.cache}/kcl.
set -euo pipefail

moto=5.2.5
kinesis_mock=0.6.2 # the package kinesis-local is kinesis-mock as JavaScript
cache="${XDG_CACHE_HOME:-$HOME/.cache}/kcl"

die() {
  echo "kinesis_emulator: $*" >&2
  exit 1
}

# Installs beside the target and renames: an interrupted fetch leaves nothing that looks complete.
keep() {
  # The second of two fetches finds the folder and drops its own.
  mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ] || die "cannot write $2"
  rm -rf "$1"
}

fetch_moto() {
  command -v python3 >/dev/null || die "python3 is not installed"
  mkdir -p "$cache"
  work="$(mktemp -d "$cache/moto.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  python3 -m pip install --quiet --target "$work" "moto[server]==$moto" >"$work.log" 2>&1 ||
    { tail -n 20 "$work.log" >&2; rm -f "$work.log"; die "pip could not fetch moto $moto"; }
  rm -f "$work.log"
  keep "$work" "$cache/moto-$moto"
}

fetch_kinesis_mock() {
  command -v npm >/dev/null || die "npm is not installed"
  mkdir -p "$cache"
  work="$(mktemp -d "$cache/kinesis-mock.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  npm install --silent --no-audit --no-fund --prefix "$work" "kinesis-local@$kinesis_mock" ||
    die "npm could not fetch kinesis-local $kinesis_mock"
  keep "$work" "$cache/kinesis-mock-$kinesis_mock"
}

[ "$#" = 2 ] || die "name moto or kinesis-mock, and a port or --fetch"
case "$2" in
  --fetch) ;;
  *[!0-9]*) die "$2 is no port" ;;
esac
case "$1" in
  moto)
    [ -d "$cache/moto-$moto" ] || fetch_moto
    [ "$2" = --fetch ] && exit
    PYTHONPATH="$cache/moto-$moto" exec python3 -c 'from moto.server import main; main()' -H 127.0.0.1 -p "$2"
    ;;
  kinesis-mock)
    [ -d "$cache/kinesis-mock-$kinesis_mock" ] || fetch_kinesis_mock
    [ "$2" = --fetch ] && exit
    cd "$cache/kinesis-mock-$kinesis_mock/node_modules/kinesis-local" # it reads server.json there
    # It serves TLS as well, on another port.
    KINESIS_MOCK_PLAIN_PORT="$2" KINESIS_MOCK_TLS_PORT="$(($2 + 1))" LOG_LEVEL=ERROR exec node main.js
    ;;
  *) die "$1 is no emulator: name moto or kinesis-mock" ;;
esac
