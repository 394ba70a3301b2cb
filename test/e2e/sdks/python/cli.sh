#!/bin/sh
# Runs AWS CLI commands until it has seen enough keys, or time is up. Each is a
# process that starts afresh.
# $1: the CLI.
end=$(($(date +%s) + ${CALLER_SECONDS%.*}))
calls=0 refused= log=$(mktemp) keys=$(mktemp)
trap 'rm -f "$log" "$keys"' EXIT
while [ "$(date +%s)" -lt "$end" ] && [ "$(sort -u "$keys" | wc -l)" -lt "$CALLER_KEYS" ]; do
	for command in "s3api list-objects-v2 --bucket demo" "sts get-caller-identity"; do
		calls=$((calls + 1))
		# shellcheck disable=SC2086 # the words of a command
		if ! AWS_MAX_ATTEMPTS=1 "$1" --debug $command >/dev/null 2>"$log"; then
			now=$(date +%s) key=$(sed -n 's/.*Credential=\([A-Z0-9]*\)\/.*/\1/p' "$log" | tail -n 1)
			refused="$refused${refused:+,}\"$now ${key:--} $(tail -n 1 "$log" | tr -d '"\\')\""
		fi
		sed -n 's/.*Credential=\([A-Z0-9]*\)\/.*/\1/p' "$log" >>"$keys"
	done
done
printf '{"calls":%d,"keys":%d,"refused":[%s]}\n' "$calls" "$(sort -u "$keys" | wc -l)" "$refused"
