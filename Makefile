# casq. `make` lists the targets. The names, and the last line that each of
# them prints, are used by scripts: they stay.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
LINT    := bin/golangci-lint

# At most two packages at a time, each with servers of its own; the time-out is
# one package's. CI has two cores and 15 minutes for everything.
TEST_FLAGS := -p 2 -timeout 10m

# What CI compiles it compiles once, with the race detector (for lint and the matrix,
# too), and runs once: so without debug information, and by tools, not tests, that
# collect their garbage later. Of 40 s of CPU 29 are left.
ONCE := -gcflags=all=-dwarf=false '-toolexec=env GOGC=400'
test: export GOFLAGS += -race $(ONCE)

# A program with the race detector sleeps for a second before it exits, for races
# of goroutines that are left. Tests fail where any is (goleak).
test: export GORACE = atexit_sleep_ms=0
test check matrix: export TMPDIR = $(shell scripts/tmpdir.sh)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help deps test-deps build demo test check matrix races failover promote validate bench chaos fmt fmt-check vet lint vuln clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

deps: ## find or install what casq needs: Postgres, Redis, git, gcc
	@scripts/deps.sh

test-deps: ## what the tests need besides: chromium, for the pages
	@scripts/deps.sh --test

build: ## bin/worker and bin/enqueue
	@mkdir -p bin
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/worker ./cmd/enqueue

deb: export CGO_ENABLED = 0
deb: ## the Debian package, of static programs, in bin/
	@mkdir -p bin/static
	$(GO) build -trimpath -ldflags '-s -w $(LDFLAGS)' -o bin/static/ ./cmd/worker ./cmd/enqueue
	scripts/deb.sh bin/static '$(VERSION)' bin/casq_$(VERSION)_$$(dpkg --print-architecture).deb

# SOURCE is passed through the shell's environment: a path may hold blanks,
# quotes and dollar signs.
demo: export CASQ_DEMO_SOURCE = $(value SOURCE)
demo: deps build ## [SOURCE=dir] [KEEP=1] replicate real files and repositories to a second site
	@$(GO) run ./internal/programs/demo $${CASQ_DEMO_SOURCE:+-source "$$CASQ_DEMO_SOURCE"} $(if $(filter-out 0,$(KEEP)),-keep)

# vet runs once, in lint, with more checks than it has by itself. The examples and the
# tests of alerts are modules of their own, which follow casq's: -mod=mod takes its newer
# versions over.
test: test-deps fmt-check lint ## everything that CI needs, with the race detector
	@GO="$(GO)" scripts/matrix.sh --short stranger
	$(GO) test -race -vet=off $(TEST_FLAGS) ./...
	cd examples/replica && $(GO) test -mod=mod -race $(TEST_FLAGS) ./...
	cd deploy/alerttest && $(GO) test -mod=mod -race -vet=off $(TEST_FLAGS) ./...

check: fmt-check lint ## format, vet, lint and the quick tests: before each commit
	$(GO) test -short -vet=off $(TEST_FLAGS) ./...

matrix: deps ## [WORLD=name] log, registry and counters among strangers: other settings, role, version, clock
	@GO="$(GO)" scripts/matrix.sh $(WORLD)

races: deps ## [RACE=R01 or S1] play the races: the naive twins and ours, as a table
	@$(GO) run ./races/table -race "$(RACE)"

promote: deps ## [DURATION=8s] lose a site under load, promote the second one, and come back
	@$(GO) run ./internal/programs/promote $(if $(DURATION),-duration "$(DURATION)")

failover: deps ## [LEASE=20s] stop, kill and freeze workers, and print who takes over when
	@$(GO) run ./internal/programs/failover $(if $(LEASE),-lease "$(LEASE)")

validate: deps build ## follow docs/validate-counters.md, block by block
	@$(GO) test -count=1 -run '^TestValidate$$' -v ./cmd/worker && echo 'validate: OK'

bench: deps ## [BENCH=name] [MINUTES=30] [ROWS=1000000] [TABLE=1] measure, each beside its reference in the same run
	@$(GO) run ./internal/programs/bench -run "$(BENCH)" $(if $(MINUTES),-minutes $(MINUTES)) $(if $(ROWS),-rows $(ROWS)) $(if $(TABLE),-table)

chaos: deps ## [SEED=n] [DURATION=300] inject faults under load for that many seconds, then compare
	@$(GO) run ./internal/programs/chaos $(if $(SEED),-seed $(SEED)) -seconds $(or $(DURATION),300)

fmt: ## format the Go code
	gofmt -s -w .

fmt-check: ## say which Go code is not formatted
	@files=$$(gofmt -s -l .) && test -z "$$files" || { echo "not formatted (make fmt):" $$files >&2; exit 1; }

vet: ## go vet
	$(GO) vet ./...

lint: $(LINT) ## golangci-lint, built from tools/go.mod
	GOGC=400 GOMEMLIMIT=3GiB $(LINT) run ./...

# Its database is a site of its own, which CI does not reach: docs/security.md.
vuln: ## compare the modules with the known vulnerabilities, at vuln.go.dev
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

clean: ## remove what the targets built
	rm -rf bin

# The linter has its own module, so that its hundreds of dependencies are not
# the program's. A first build takes 75 s on two idle cores.
$(LINT): export GOFLAGS = $(ONCE)
$(LINT): tools/go.mod tools/go.sum
	@mkdir -p bin
	cd tools && $(GO) build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
