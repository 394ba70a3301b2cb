#!/bin/sh
# Fuzzes every parser of the module, one after the other: fuzz.sh TIME
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s}
n=0
for pkg in $(GOFLAGS= go list ./...); do
	for name in $(GOFLAGS= go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "--- $name of $pkg for $time"
		GOFLAGS= go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg"
		echo "--- PASS: $name"
		n=$((n + 1))
	done
done
echo "$n fuzz targets"
[ "$n" -gt 0 ]
