#!/bin/sh
# Builds the binaries as a release does and checks what they are made of: each
# must come from the toolchain that go.mod pins, and govulncheck must know no
# vulnerability in them. The vulnerability database is the live one; where that
# cannot be reached, the copy of it that is a Go module; where there is none,
# the check fails.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export GOFLAGS=
live=https://vuln.go.dev
copy=golang.org/x/vulndb
copy_at=v0.0.0-20261105234957-e22db6528018 # if no newer one can be asked for

die() { echo "vuln: $*" >&2; exit 1; }

build() { CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags "$1" -o "$dir/$2" "$3"; }
build lambda.norpc keyrot ./cmd/keyrot
build lambda.norpc,nosandbox bootstrap ./cmd/keyrot
build '' keyrot-get ./cmd/keyrot-get

pinned=$(sed -n 's/^toolchain //p' go.mod)
for b in keyrot bootstrap keyrot-get; do
	built=$(go version -m "$dir/$b" | sed -n '1s/.*: //p')
	[ "$built" = "$pinned" ] || die "$b is built by $built, not by $pinned of go.mod: run it as GOTOOLCHAIN=$pinned make vuln"
	echo "vuln: $b is built by $built"
done

GOBIN=$dir go install golang.org/x/vuln/cmd/govulncheck@v1.9.0 || die "govulncheck cannot be had: NOT CHECKED"

scan() { # DATABASE
	for b in keyrot bootstrap keyrot-get; do
		"$dir/govulncheck" -db "$1" -mode binary "$dir/$b" >"$dir/out" 2>&1 || { cat "$dir/out"; die "$b has known vulnerabilities, or could not be read"; }
		echo "vuln: $b: none known"
	done
}

if GOVULNDB= "$dir/govulncheck" -db "$live" -mode binary "$dir/keyrot-get" >"$dir/out" 2>&1 || grep -q '^Vulnerability #' "$dir/out"; then
	echo "vuln: database $live"
	scan "$live"
	exit
fi
echo "vuln: the live database $live is not reachable"
info=$(go mod download -json "$copy@latest" || go mod download -json "$copy@$copy_at") || die "nor is its copy $copy: NOT CHECKED"
field() { printf '%s\n' "$info" | sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",*\$/\1/p"; }
echo "vuln: using its copy, module $copy at $(field Version)"
scan "file://$(field Dir)/data/osv"
