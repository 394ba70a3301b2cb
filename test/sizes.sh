#!/bin/sh
# Builds the binaries as a release does and holds them against their limits.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0

check() { # NAME FILE LIMIT_MIB
	bytes=$(wc -c <"$2")
	printf 'size: %-24s %5.1f MiB, limit %s MiB\n' "$1" "$(echo "$bytes" | awk '{print $1/1048576}')" "$3"
	[ "$bytes" -le $(($3 * 1048576)) ] || bad=1
}

build() { CGO_ENABLED=0 GOFLAGS= go build -trimpath -ldflags '-s -w' -tags "$1" -o "$dir/$2" "$3"; }

build lambda.norpc keyrot ./cmd/keyrot
check keyrot "$dir/keyrot" 45
build lambda.norpc,nosandbox bootstrap ./cmd/keyrot
check 'keyrot, nosandbox' "$dir/bootstrap" 32
python3 - "$dir" <<'PY'
import sys, zipfile
d = sys.argv[1]
with zipfile.ZipFile(d + "/bootstrap.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
    z.write(d + "/bootstrap", "bootstrap")
PY
check 'Lambda zip' "$dir/bootstrap.zip" 12
if [ -d cmd/keyrot-get ]; then
	build '' keyrot-get ./cmd/keyrot-get
	check keyrot-get "$dir/keyrot-get" 8
fi
[ "$bad" = 0 ] || { echo "a binary is over its limit" >&2; exit 1; }
