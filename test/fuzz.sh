#!/bin/sh
# Fuzzes every parser of the module, as many at a time as there are two
# processors for: fuzz.sh TIME
set -eu
cd "$(dirname "$0")/.."
time=${1:-60s}
export GOFLAGS=
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

list=$(mktemp)
trap 'rm -f "$list"' EXIT
# Read, not asked of the tests: that would build and link every package's.
go list -f '{{range .TestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}
{{end}}{{range .XTestGoFiles}}{{$.ImportPath}} {{$.Dir}}/{{.}}
{{end}}' ./... | while read -r pkg file; do
	[ -z "$file" ] || sed -n "s|^func \(Fuzz[A-Za-z0-9_]*\)(.*|\1 $pkg|p" "$file"
done >"$list"
[ -s "$list" ] || { echo "no fuzz target found" >&2; exit 1; }

one='
if ! out=$(go test -run "^$" -fuzz "^$1\$" -fuzztime "$0" -parallel 1 "$2" 2>&1); then
	# The fuzzer of Go sometimes reports its own time limit as a failure; an
	# input that fails is always written down.
	case $out in
	*"Failing input written"*|*panic*) printf "%s\n--- FAIL: %s of %s\n" "$out" "$1" "$2"; exit 255 ;;
	*"context deadline exceeded"*) ;;
	*) printf "%s\n--- FAIL: %s of %s\n" "$out" "$1" "$2"; exit 255 ;;
	esac
fi
printf "%s\n--- PASS: %s of %s\n" "$(printf "%s" "$out" | tail -n 3)" "$1" "$2"
'
xargs -P "$jobs" -L 1 sh -c "$one" "$time" <"$list"
echo "$(wc -l <"$list") fuzz targets"
