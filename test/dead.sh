#!/bin/sh
# Finds what is written and never called: with each set of tags that is shipped,
# every function must be reached from a main. Left out is what fmt calls, and what
# only tests of other packages need.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
GOFLAGS= GOBIN=$dir go install golang.org/x/tools/cmd/deadcode@v0.52.0
known='(Credential|Key)\.(String|GoString)$|config/changed.go:.* Keys$|seal/seal.go:.* Fixed$|dynamodb/item.go:.* Schema$'
for tags in lambda.norpc lambda.norpc,nosandbox; do
	GOFLAGS= "$dir/deadcode" -tags "$tags" ./cmd/... >"$dir/found"
	if grep -vE "$known" "$dir/found"; then
		echo "dead: written and never called, with the tags $tags" >&2
		exit 1
	fi
	echo "dead: nothing, with the tags $tags"
done
