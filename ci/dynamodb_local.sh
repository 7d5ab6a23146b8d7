#!/usr/bin/env bash
# Serves DynamoDB Local as a Java process: no container engine, no AWS account.
#
#   ci/dynamodb_local.sh [PORT]     serve PORT (default 8000) until the process ends; fetches the jars on first use
#   ci/dynamodb_local.sh --fetch    only fetch, and print the folder with the jars
#
# The script becomes the Java process, so that `kill $!` ends a server that was started in the background.
# Needs Java 17, and on first use Maven. The jars stay in ${XDG_CACHE_HOME:-~/.cache}/kcl/dynamodb-local.
set -euo pipefail

# 3.1.0: the newest version whose dependencies are all published.
version=3.1.0
jars="${XDG_CACHE_HOME:-$HOME/.cache}/kcl/dynamodb-local/$version"

die() {
  echo "dynamodb_local: $*" >&2
  exit 1
}

# Downloads beside the target and renames: an interrupted fetch leaves nothing that looks complete.
fetch() {
  command -v mvn >/dev/null || die "mvn is not installed, and $jars does not exist yet"
  mkdir -p "$(dirname "$jars")"
  local work
  work="$(mktemp -d "$jars.XXXXXX")"
  cat >"$work/pom.xml" <<'POM'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>kcl.ci</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>0</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
  sed -i "s/VERSION/$version/" "$work/pom.xml"
  if ! mvn --quiet --batch-mode --file "$work/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$work/jars" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    rm -rf "$work"
    die "mvn could not fetch DynamoDB Local $version"
  fi
  # The second of two fetches finds the folder and drops its own.
  mv -T "$work/jars" "$jars" 2>/dev/null || [ -d "$jars" ] || die "cannot write $jars"
  rm -rf "$work"
}

[ -d "$jars" ] || fetch

case "${1:-8000}" in
  --fetch) echo "$jars" ;;
  *[!0-9]*) die "$1 is no port" ;;
  *)
    # One database for all regions and access keys; nothing on disk; no telemetry.
    exec java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
      -Djava.library.path="$jars" -cp "$jars/*" \
      software.amazon.dynamodb.services.local.main.ServerRunner \
      -port "${1:-8000}" -inMemory -sharedDb -disableTelemetry
    ;;
esac
