#!/bin/sh
# Installs the AWS CLI, boto3, and the SDKs for JavaScript and Java, as pinned
# here, into .e2e/sdks. Needs python3, npm, mvn and a JDK. Does nothing for what
# is there already.
set -eu
cd "$(dirname "$0")"
to=$(cd ../../.. && pwd)/.e2e/sdks
mkdir -p "$to"
for tool in python3 node npm mvn java; do
	command -v "$tool" >/dev/null || { echo "test/e2e/sdks/setup.sh: $tool is missing" >&2; exit 1; }
done
if ! cmp -s python/requirements.txt "$to/venv/installed.txt"; then
	rm -rf "$to/venv"
	python3 -m venv "$to/venv"
	"$to/venv/bin/pip" install --quiet --disable-pip-version-check --requirement python/requirements.txt
	cp python/requirements.txt "$to/venv/installed.txt"
fi
if ! cmp -s js/package-lock.json "$to/js/installed.json"; then
	rm -rf "$to/js"
	mkdir "$to/js"
	cp js/package.json js/package-lock.json "$to/js"
	npm ci --prefix "$to/js" --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null
	cp js/package-lock.json "$to/js/installed.json"
fi
if ! cmp -s java/pom.xml "$to/java/installed.xml"; then
	rm -rf "$to/java"
	mvn -q -B -f java/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$to/java"
	cp java/pom.xml "$to/java/installed.xml"
fi
