#!/bin/sh
# How much of the command layer its tests run: commands over an AWS in memory,
# and scripts of the whole program. At least 85 % of the statements.
set -eu
cd "$(dirname "$0")/.."
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT
go test -coverpkg=./internal/cli -coverprofile="$profile" ./internal/cli ./cmd/keyrot
go tool cover -func "$profile" | awk '$3 == "0.0%" { print "not run: " $1, $2 } END { print "cover: internal/cli", $3; exit $3 + 0 < 85 }'
