#!/usr/bin/env bash
# Makes the image `amazon/dynamodb-local:latest` from the jars of ci/dynamodb_local.sh, for machines that reach Maven
# Central but no image registry. An existing image stays unchanged.
#
# Like the official one it listens on port 8000, runs as an unprivileged user and keeps its tables in memory. Inside are a
# Java runtime cut to size (jlink), the C libraries that it loads, and the jars.
# Needs a container engine that answers, a JDK of version 17 or newer, and what ci/dynamodb_local.sh needs.
set -euo pipefail

image=amazon/dynamodb-local:latest
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

if docker image inspect "$image" >/dev/null 2>&1; then
  echo "dynamodb_local_image: $image is there"
  exit
fi

jars="$("$here/dynamodb_local.sh" --fetch)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
root="$work/root"
mkdir -p "$root/opt/dynamodb" "$root/etc" "$root/tmp"
chmod 1777 "$root/tmp"

jlink --add-modules java.se,jdk.unsupported,jdk.crypto.ec,jdk.zipfs --strip-debug --no-man-pages --no-header-files \
  --output "$root/opt/java"
cp "$jars"/*.jar "$jars"/*linux*.so "$root/opt/dynamodb/"

# The image has no package manager: the libraries that the runtime links to are copied to the same path.
mapfile -t binaries < <(find "$root/opt/java/bin/java" "$root/opt/java/lib" -name java -o -name '*.so')
# ldd fails on a library with missing dependencies, such as a window system; the server does not need those.
{ ldd "${binaries[@]}" 2>/dev/null || true; } | grep -oE '/[^ ():]+\.so[^ ():]*' | { grep -v "^$work" || true; } \
  | sort -u | while read -r library; do
  install -D "$library" "$root$library"
done

echo 'dynamodb:x:1000:1000::/tmp:/sbin/nologin' >"$root/etc/passwd"
echo 'dynamodb:x:1000:' >"$root/etc/group"
chmod -R go+rX "$root/opt" "$root/etc"

tar -C "$root" -c . | docker import \
  --change 'ENTRYPOINT ["/opt/java/bin/java","-XX:+UseSerialGC","-XX:TieredStopAtLevel=1","-Djava.library.path=/opt/dynamodb","-cp","/opt/dynamodb/*","software.amazon.dynamodb.services.local.main.ServerRunner"]' \
  --change 'CMD ["-inMemory","-sharedDb","-disableTelemetry"]' \
  --change 'WORKDIR /tmp' --change 'USER dynamodb' --change 'EXPOSE 8000' - "$image" >/dev/null
echo "dynamodb_local_image: made $image"
