# build and test need nothing but Go; the rest says what is missing.
SHELL := /bin/sh
GO ?= go
# Without it the linker keeps every method of every SDK client.
TAGS := lambda.norpc
# The race detector needs a C compiler.
CC := $(shell $(GO) env CC)
RACE := $(shell if command -v "$(CC)" >/dev/null 2>&1; then echo -race; fi)

.PHONY: build test lint e2e e2e-lambda e2e-deploy bench mutants help
.DEFAULT_GOAL := help

build: ## build bin/keyrot
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '-s -w' -o bin/ ./cmd/...

test: ## vet and test everything, in random order and with the race detector
	$(GO) vet ./...
	@if [ -z "$(RACE)" ]; then echo "make: no C compiler ($(CC)) found, testing without the race detector" >&2; fi
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -shuffle=on ./...

lint: ## golangci-lint, with .golangci.yml
	@command -v golangci-lint >/dev/null || { echo "make: install golangci-lint v2: https://golangci-lint.run/docs/welcome/install" >&2; exit 1; }
	golangci-lint run ./...

e2e: ## the built binary against AWS-compatible servers
	$(GO) test -count=1 -tags e2e -timeout 30m ./test/e2e/...

e2e-lambda: ## the Lambda function's program, driven through the Lambda Runtime API
	$(GO) test -count=1 -tags e2e -timeout 10m -v -run '^Test(Lambda|DynamoDBStore|KMSSealer)$$' ./test/e2e/...

e2e-deploy: ## deploy, update and remove the stack on moto; cfn-lint; the roles against what is called
	test/e2e/setup.sh
	$(GO) test -count=1 -tags e2e -timeout 15m -v -run '^Test(Deploy|DeployTakesOver|Roles|TemplateLint)$$' ./test/e2e/...

bench: ## benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

mutants: ## break keyrot on purpose and see a named test fail
	$(GO) run ./test/mutants

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
