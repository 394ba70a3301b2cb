#!/bin/sh
# Installs the AWS CLI, boto3, and the SDKs for JavaScript and Java, as pinned
# here, and with the argument "more" those of TestMoreSDKs instead, into .e2e/sdks. Needs python3, npm, mvn and a JDK. Does nothing for what
# is there already.
set -eu
cd "$(dirname "$0")"
to=$(cd ../../.. && pwd)/.e2e/sdks
mkdir -p "$to"
for tool in python3 node npm mvn java; do
	command -v "$tool" >/dev/null || { echo "test/e2e/sdks/setup.sh: $tool is missing" >&2; exit 1; }
done
if [ "${1:-}" = more ]; then
	cd more
	ruby -e 'require "aws-sdk-s3"' || { echo "test/e2e/sdks/setup.sh: the SDK for Ruby is missing (apt-get install ruby-aws-sdk-s3)" >&2; exit 1; }
	to=$to/more
	mkdir -p "$to"
	if ! cmp -s requirements.txt "$to/venv/installed.txt"; then
		rm -rf "$to/venv"
		python3 -m venv "$to/venv"
		"$to/venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
		cp requirements.txt "$to/venv/installed.txt"
	fi
	if ! cmp -s js2/package-lock.json "$to/js2/installed.json"; then
		rm -rf "$to/js2"
		mkdir "$to/js2"
		cp js2/package.json js2/package-lock.json "$to/js2"
		(cd "$to/js2" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null)
		cp js2/package-lock.json "$to/js2/installed.json"
	fi
	if ! cmp -s java1/pom.xml "$to/java1/installed.xml"; then
		rm -rf "$to/java1"
		mvn -q -B -f java1/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$to/java1"
		cp java1/pom.xml "$to/java1/installed.xml"
	fi
	exit
fi
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
