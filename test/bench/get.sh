#!/bin/sh
# Whole-process time of get-key beside its floors, with hyperfine: cold and over
# TLS against the floor's two requests, warm and with the agent against a program
# that reads a file. Prints the ratios of the medians and of the minima; with
# "check" as its argument it fails if one is above what was promised.
set -eu
cd "$(dirname "$0")/../.."
command -v hyperfine >/dev/null || { echo "test/bench/get.sh: install hyperfine (apt-get install hyperfine)" >&2; exit 1; }
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$dir"' EXIT
mkdir "$dir/built"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$dir/built/" ./cmd/... ./test/bench/...
# Installed, as users have them: what the linker has just written lies in the page
# cache in single pages, and a large program takes longer to load from there.
cp "$dir"/built/* "$dir/"
go run "$(go env GOROOT)/src/crypto/tls/generate_cert.go" -host 127.0.0.1 -ecdsa-curve P256 >/dev/null 2>&1
mv cert.pem key.pem "$dir"
export KEYROT_SERVER_CALLER_RATE=1000000 KEYROT_CACHE_DIR="$dir/cache" KEYROT_AGENT_SOCKET="$dir/none"
plain=127.0.0.1:18471 tls=127.0.0.1:18472 user=demo-app
"$dir/keyrot" serve --sandbox --listen $plain >"$dir/plain.out" 2>"$dir/plain.log" & pids="$pids $!"
until grep -qs 'keyrot sandbox' "$dir/plain.log"; do sleep 0.2; done
eval "$(grep '^export KEYROT_API_KEY=' "$dir/plain.out")" # one that keyrot made
"$dir/keyrot" serve --sandbox --listen $tls --tls-cert "$dir/cert.pem" --tls-key "$dir/key.pem" >"$dir/tls.out" 2>"$dir/tls.log" & pids="$pids $!"
until grep -qs 'keyrot sandbox' "$dir/tls.log"; do sleep 0.2; done
export KEYROT_ENDPOINT=http://$plain
"$dir/keyrot" agent --users $user --listen 127.0.0.1:18474 --socket "$dir/a.sock" --token-file "$dir/token" >"$dir/agent.out" 2>"$dir/agent.log" & pids="$pids $!"
until grep -qs TOKEN_FILE "$dir/agent.out"; do sleep 0.2; done
"$dir/keyrot-get" --user $user >"$dir/answer"
bench() { hyperfine -N --warmup 20 --runs "${RUNS:-300}" --export-json "$dir/$1.json" "$2" "$3" >/dev/null 2>"$dir/hyperfine.err" || { cat "$dir/hyperfine.err" >&2; exit 1; }; }
get="$dir/keyrot-get --user $user"
bench cold "$dir/floor http://$plain $user" "$get --no-cache"
bench tls "$dir/floor https://$tls $user $dir/cert.pem" "$get --no-cache --endpoint https://$tls --ca-file $dir/cert.pem"
bench warm "$dir/reader $dir/answer" "$get"
bench one "$dir/reader $dir/answer" "$dir/keyrot get-key --user $user"
KEYROT_AGENT_SOCKET=$dir/a.sock bench agent "$dir/reader $dir/answer" "$get"
bench asker "$dir/reader $dir/answer" "$dir/asker $dir/a.sock 'keyrot get-key 2 $user json'"
failed=0
row() { # name, file, limit
	set -- "$1" "$2" "$3" $(tr -d ' ,' <"$dir/$2.json" | awk -F: '/"median"/ {printf "%s ", $2 * 1000} /"min"/ {printf "%s ", $2 * 1000}')
	awk -v n="$1" -v l="$3" -v fm="$4" -v fn="$5" -v gm="$6" -v gn="$7" 'BEGIN {
		printf "%-34s %6.2f %6.2f   %6.2f %6.2f   %5.2f %5.2f   %s\n", n, fm, fn, gm, gn, gm / fm, gn / fn, l
		exit gm / fm > l }' || failed=1
}
echo "ms: median and minimum               floor           get-key       ratio         at most"
row "keyrot-get, two requests" cold 1.3
row "keyrot-get, two requests, pinned TLS" tls 1.3
row "keyrot-get, warm cache" warm 1.3
row "keyrot-get, agent" agent 1.3
row "keyrot get-key, warm cache" one 6
row "for comparison: asker, agent" asker 99
[ "${1:-}" != check ] || exit $failed
