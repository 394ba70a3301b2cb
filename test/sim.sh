#!/bin/sh
# Runs the simulation's soak, a part of its seeds on each processor: sim.sh
# FLAGS. A simulation is one thing at a time; the scheduler of Go takes twice as
# long to hand it around between two processors.
set -eu
cd "$(dirname "$0")/.."
n=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
case " $* " in *" -sim.seed="*) n=1 ;; esac
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
i=0
while [ "$i" -lt "$n" ]; do
	${GO:-go} test -count=1 -cpu 1 -timeout 120m -v -run '^TestSoak$' ./internal/sim -sim.shards="$n" -sim.shard="$i" "$@" >"$dir/$i" 2>&1 &
	pids="$pids $!"
	i=$((i + 1))
done
failed=0
for pid in $pids; do wait "$pid" || failed=1; done
cat "$dir"/*
exit $failed
