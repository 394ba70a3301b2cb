#!/bin/sh
# Installs the servers of the end-to-end tests into .e2e: versitygw with go
# install, moto with pip into a virtual environment, DynamoDB Local with Maven.
# Does nothing if they are there already in the versions wanted.
set -eu
cd "$(dirname "$0")/../.."
versitygw=v1.8.0
bin=$PWD/.e2e/bin
venv=$PWD/.e2e/venv
wanted=test/e2e/requirements.txt

if [ ! -x "$bin/versitygw" ] || ! go version -m "$bin/versitygw" | grep -q "versity/versitygw[[:space:]]$versitygw"; then
	echo "installing versitygw $versitygw (takes minutes the first time)" >&2
	GOBIN=$bin GOFLAGS= CGO_ENABLED=0 go install "github.com/versity/versitygw/cmd/versitygw@$versitygw"
fi
if ! cmp -s "$wanted" "$venv/installed.txt"; then
	echo "installing moto" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
	cp "$wanted" "$venv/installed.txt"
fi
pom=test/e2e/dynamodblocal/pom.xml
local=$PWD/.e2e/dynamodblocal
if ! cmp -s "$pom" "$local/installed.xml"; then
	if command -v mvn >/dev/null; then
		echo "installing DynamoDB Local" >&2
		rm -rf "$local"
		mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies -DoutputDirectory="$local"
		cp "$pom" "$local/installed.xml"
	else
		echo "no mvn found: the tests on DynamoDB Local will fail (apt-get install maven)" >&2
	fi
fi
