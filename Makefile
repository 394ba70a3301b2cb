# build and test need nothing but Go; the rest says what is missing.
SHELL := /bin/sh
GO ?= go
# What is tested and what ships is built by the toolchain of go.mod, which go
# downloads. GOTOOLCHAIN=local builds with what is there; "make vuln" refuses it.
PINNED := $(shell sed -n 's/^toolchain //p' go.mod)
ifndef GOTOOLCHAIN
GOTOOLCHAIN := $(if $(shell GOTOOLCHAIN=$(PINNED) $(GO) version 2>/dev/null),$(PINNED),local)
endif
export GOTOOLCHAIN
BUILDER := $(shell GOTOOLCHAIN=$(GOTOOLCHAIN) $(GO) env GOVERSION)
ifneq ($(BUILDER),$(PINNED))
$(warning building with $(BUILDER) instead of $(PINNED): not for release)
endif
# Without it the linker keeps every method of every SDK client.
TAGS := lambda.norpc
# The race detector needs a C compiler.
CC := $(shell $(GO) env CC)
RACE := $(shell if command -v "$(CC)" >/dev/null 2>&1; then echo -race; fi)
# Tests on servers that are started for them.
E2E := $(GO) test -count=1 -tags e2e -v

.PHONY: bench-server bench-sweep soak-server e2e-api build test lint sim mutants sizes vuln dead cover fuzz bench bench-get help \
	e2e-setup e2e e2e-faults e2e-lambda e2e-deploy e2e-sdks e2e-sdks-more e2e-browser
.DEFAULT_GOAL := help

build: ## build bin/keyrot and bin/keyrot-get
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '-s -w' -o bin/ ./cmd/...

# Simulations and enumerations have no use for the race detector beyond a few
# hours and worlds, and are many times slower under it: in full they run without.
# A simulation is one thing at a time, so one processor is enough for each of two.
# Many tests wait, so more of them run side by side than there are processors.
N := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
SIDE = -p $(shell expr $(N) + 1) -parallel $(shell expr 3 '*' $(N))
LONG = $(GO) test -vet=off -cpu 1 -timeout 30m
test: ## vet and test everything, in random order and with the race detector
	$(GO) vet ./...
	$(GO) vet -tags e2e,sdks ./test/e2e
	@if [ -z "$(RACE)" ]; then echo "make: no C compiler ($(CC)) found, testing without the race detector" >&2; fi
	$(if $(RACE),CGO_ENABLED=1) $(GO) test $(RACE) -vet=off -shuffle=on $(SIDE) -timeout 30m ./...
	$(if $(RACE),$(LONG) -run '^TestWeekOfFaults$$' ./internal/sim & week=$$!; \
	$(LONG) -run '^Test(ManyHands|ManyUsers|EverybodyDueAtOnce|CalmWorld|OptionalTargetDelaysNothing|Soak|EveryWorld|EveryOrphan)$$' \
		./internal/sim ./pkg/rotate/plan; others=$$?; wait $$week && exit $$others)

lint: ## golangci-lint, with .golangci.yml
	@command -v golangci-lint >/dev/null || { echo "make: install golangci-lint v2: https://golangci-lint.run/docs/welcome/install" >&2; exit 1; }
	golangci-lint run ./...

# make sim SEED=n replays one, make sim HOURS=n lets every run last that long,
# make sim FRESH=1 draws seeds that nobody has seen yet, make sim USERS=20000
# HOURS=24 has that many users, no faults, and tells the processor time.
USERDAYS ?= 10000
sim: ## simulate daemons under all faults: USERDAYS=10000, SEED=n replays, HOURS=n soaks
	$(if $(USERS),$(GO) test -count=1 -cpu 1 -timeout 24h -v -run '^TestManyUsers$$' ./internal/sim -sim.users=$(USERS) $(if $(HOURS),-sim.hours=$(HOURS)),GO='$(GO)' sh test/sim.sh $(if $(SEED),-sim.seed=$(SEED),-sim.userdays=$(USERDAYS)) $(if $(HOURS),-sim.hours=$(HOURS)) $(if $(FRESH),-sim.fresh))

mutants: ## break keyrot on purpose and see a named test fail
	$(GO) run ./test/mutants

sizes: ## build the release's binaries and hold them against their limits
	sh test/sizes.sh

vuln: ## check the release's binaries: the pinned toolchain, and no known vulnerability
	sh test/vuln.sh

cover: ## how much of the command layer its tests run: at least 85 %
	sh test/cover.sh

dead: ## find code that is written and never called
	sh test/dead.sh

FUZZTIME ?= 60s
fuzz: ## fuzz every parser for FUZZTIME=60s each
	sh test/fuzz.sh $(FUZZTIME)

bench: ## benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-get: ## whole-process time of get-key beside its floors (needs hyperfine)
	test/bench/get.sh

e2e-setup: ## install the servers of the end-to-end tests into .e2e
	sh test/e2e/setup.sh

e2e: e2e-setup ## the built binary against AWS-compatible servers
	$(E2E) -timeout 60m -parallel 4 -skip '^Test(Lambda|Middlebox|DynamoDBStore|KMSSealer|Capacity|Deploy|DeployTakesOver|DeployFaults|DeployHalfMade|DeployDeclined|Roles|TemplateLint|API|Schemathesis|Faults|DiskFails)$$' ./test/e2e

e2e-lambda: e2e-setup ## the Lambda function's program, driven through the Lambda Runtime API
	$(E2E) -timeout 30m -run '^Test(Lambda|Middlebox|DynamoDBStore|KMSSealer|Capacity)$$' ./test/e2e

e2e-deploy: e2e-setup ## deploy, update and remove the stack on moto; cfn-lint; the roles against what is called
	$(E2E) -timeout 60m -parallel 4 -run '^Test(Deploy|DeployTakesOver|DeployFaults|DeployHalfMade|DeployDeclined|Roles|TemplateLint)$$' ./test/e2e

# make e2e-faults SEED=n replays the faults of one run, DURATION=1h soaks,
# WITHOUT=full,sync leaves kinds of faults out (those two need root, and strace).
DURATION ?= 5m
e2e-faults: e2e-setup ## two daemons and a cron job under faults of AWS, machine and disk: DURATION=5m, SEED=n, WITHOUT=kinds
	FAULTS_DURATION=$(DURATION) FAULTS_SEED=$(SEED) FAULTS_WITHOUT=$(WITHOUT) \
		$(E2E) -timeout 0 -run '^Test(Faults|DiskFails)$$' ./test/e2e

e2e-sdks: e2e-setup ## AWS CLI, boto3, JavaScript, Java and Go through rotations (needs npm, mvn)
	test/e2e/sdks/setup.sh
	$(GO) test -count=1 -v -tags e2e,sdks -run '^TestSDKs(ReadProfiles)?$$' -timeout 30m ./test/e2e

e2e-sdks-more: e2e-setup ## C++, Rust, Ruby, JavaScript 2, Java 1 and Go 1 (needs npm, mvn, ruby-aws-sdk-s3)
	test/e2e/sdks/setup.sh more
	$(GO) test -count=1 -v -tags e2e,sdks -run '^TestMoreSDKs$$' -timeout 30m ./test/e2e

e2e-browser: build ## the status page in Chromium (needs Node 20 and /usr/bin/chromium, or CHROMIUM=path)
	$(GO) build -o .e2e/bin/crowd ./test/e2e/crowd
	cd test/e2e/browser && npm ci --silent --no-audit --no-fund && node --test --test-concurrency=1 --test-reporter=spec page.test.mjs crowd.test.mjs

SCHEMATHESIS := 4.32.5
.e2e/schemathesis/$(SCHEMATHESIS):
	python3 -m venv .e2e/schemathesis
	.e2e/schemathesis/bin/pip install --quiet --disable-pip-version-check schemathesis==$(SCHEMATHESIS)
	touch $@

e2e-api: .e2e/schemathesis/$(SCHEMATHESIS) ## schemathesis against the served OpenAPI of a sandbox
	$(GO) test -count=1 -tags e2e -timeout 30m -v -run '^TestSchemathesis$$' ./test/e2e

bench-sweep: build ## rotating many users beside the least that it takes (CHECK=1 fails beyond the limits; 35 minutes)
	$(GO) run ./test/bench/sweep -keyrot bin/keyrot $(if $(CHECK),check)

bench-server: build ## /active-key at 5 and 5,000 users beside bare net/http handlers (CHECK=1 fails below the limits)
	$(GO) run ./test/bench -keyrot bin/keyrot $(if $(CHECK),check)

MINUTES ?= 10
soak-server: build ## the server at full load while keys rotate, for MINUTES=10
	$(GO) run ./test/bench -keyrot bin/keyrot -soak $(MINUTES)m

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
