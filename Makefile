# Everything the project does with itself. `make` alone says what there is.
#
# Go and make are enough to begin: what else a target needs it installs itself,
# on Debian and as root, or says in one sentence what is missing.

GO       ?= go
FUZZTIME ?= 20s
SOAKTIME ?= 10m
SOAK_REQUESTS ?= 5000000
# To our own server, with the race detector: two hours or more of two cores.
RACE_REQUESTS ?= 10000000
# To each of the two servers in front.
REQUESTS ?= 100000
LAB_TIMEOUT ?= 20m
# The server in front of the siege and the laboratory: own or standard.
ENGINE ?= own
# What the compiler is told of where time goes. It is not beside main.go, where every
# build would find it and compile everything anew for it, "go run" first of all.
PGO := cmd/vestibule/pgo/default.pgo
# Flags of the benchmark, such as BENCH='-rounds 9 -work h1,h2'.
BENCH ?=

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
BUILDER  ?= $(firstword $(foreach tool,buildah podman docker,$(if $(shell command -v $(tool)),$(tool))))
IMAGE    ?= vestibule:$(VERSION)
# Further flags for the builder, such as --build-arg GOPROXY=off.
IMAGE_FLAGS ?=
# The format of Docker is the one that knows HEALTHCHECK.
IMAGE_FORMAT := $(if $(filter buildah podman,$(BUILDER)),--format docker)

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The version is stamped by the linker, so git's own stamp is not needed, and a
# checkout owned by somebody else builds too.
export GOFLAGS += -buildvcs=false

# The Go files that are ours: not those of installed clients, nor of hidden
# directories such as the laboratory's.
GOFILES = $(shell find . -name node_modules -prune -o -path './.?*' -prune -o -name '*.go' -print)

say = @printf '==> %s\n'

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build demo test unit answers races siege check laboratory-tools laboratory integration lint bench microbench pgo fuzz soak image screenshot docs clean compiler openssl

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the static binary bin/vestibule
	$(say) 'building bin/vestibule $(VERSION)'
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' -pgo=$(PGO) -o bin/vestibule ./cmd/vestibule

demo: ## Run a whole front door on loopback, nothing needed
	@$(GO) run ./cmd/vestibule demo

test: unit answers siege laboratory ## Run everything: checks, unit tests, siege, laboratory (root)
	$(say) 'everything passed'

unit: check compiler ## Run formatting, vet and unit tests (no root, loopback only)
	$(say) 'unit tests, fuzz seeds among them'
	@if command -v gcc >/dev/null; then CGO_ENABLED=1 $(GO) test -race -timeout 30m -tags invariants ./...; \
	else echo '    without -race: it needs gcc'; CGO_ENABLED=0 $(GO) test -timeout 30m -tags invariants ./...; fi
	$(say) 'what only the program as it is built can show: allocations, the stack of a poll'
	@for profile in off $(CURDIR)/$(PGO); do \
		CGO_ENABLED=0 $(GO) test -trimpath -pgo=$$profile -count=1 -run '^(TestParkedStack|TestH1Allocations)$$' ./proxy || exit 1; done

answers: ## Send REQUESTS requests to each engine amid every trouble: does each get its answer?
	$(say) 'twice $(REQUESTS) requests, each of which gets its own answer or a visible error'
	@$(GO) test -tags invariants -v -count=1 -timeout 0 -run '^TestSoak$$' ./proxy -args -soak.requests=$(REQUESTS)

# Without the invariants, whose locks would put an order between what races.
races: compiler ## Send REQUESTS requests to our own server amid every trouble, with the race detector
	$(say) '$(REQUESTS) requests to our own server, with the race detector'
	@CGO_ENABLED=1 $(GO) test -race -v -count=1 -timeout 0 -run '^TestSoak$$/^own$$' ./proxy -args -soak.requests=$(REQUESTS)

# With the program as a process of its own, whose memory is looked at, and with the
# machine for itself: these tests keep it busy.
siege: openssl ## Run crowds, large bodies and hostile clients against the program, with ENGINE (no root, loopback only)
	$(say) 'siege: crowds, large bodies and hostile clients, engine $(ENGINE) (two to three minutes)'
	@ENGINE=$(ENGINE) CGO_ENABLED=0 $(GO) test -tags integration -v -count=1 -timeout 15m -run '^(TestCrowd|TestSlowBodies|TestGibibyte|TestHostileClients|TestFewFiles)$$' ./cmd/vestibule/

check:
	$(say) 'gofmt'
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $(GOFILES)); if [ -n "$$unformatted" ]; then \
		echo "not formatted (remedy: gofmt -w FILE):"; echo "$$unformatted"; exit 1; fi
	$(say) 'go vet'
	@$(GO) vet ./...
	@$(GO) vet -tags integration,invariants ./...

# $(call need,PROGRAM,PACKAGES,WHAT FOR) installs what is missing, on Debian and as root.
define need
	@if ! command -v $(1) >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo '==> installing $(1) for $(3)'; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(2); fi
endef

# The race detector is written in C; Debian's compiler is enough for it.
compiler:
	$(call need,gcc,gcc libc6-dev,the race detector)

# Go's own client does not ask for a new handshake on an old connection.
openssl:
	$(call need,openssl,openssl,a hostile client)

# What needs modules is built beforehand: the laboratory and the image that it
# makes build vestibule where there is no network.
laboratory-tools: compiler
	@if [ "$$(id -u)" != 0 ]; then \
		echo 'The laboratory makes network namespaces and installs Synapse, so it needs root: run "sudo make test", or "make unit" for what needs none.' >&2; \
		exit 1; fi
	$(say) 'laboratory: installing what is missing'
	@integration/setup.sh
	@CGO_ENABLED=1 $(GO) build -race -tags invariants -o /dev/null ./cmd/vestibule

laboratory: laboratory-tools
	$(say) 'laboratory: the catalogue of endpoints against Synapse itself'
	@$(GO) test -tags integration -v -count=1 -timeout 5m -run '^TestSynapse' ./routing/
	$(say) 'laboratory: real servers, workers and clients (up to $(LAB_TIMEOUT))'
	@ENGINE=$(ENGINE) $(GO) test -tags integration -v -count=1 -timeout $(LAB_TIMEOUT) ./integration/...

integration: laboratory ## Run the laboratory alone, with ENGINE (root)

lint: ## Run golangci-lint, pinned (the first time builds it: minutes)
	$(say) 'golangci-lint'
	@$(GO) run $(GOLANGCI_LINT) run --build-tags integration,invariants ./...

bench: build ## Measure against nginx, HAProxy and Caddy (root the first time; BENCH='-h' lists flags)
	$(say) 'benchmark: installing what is missing'
	@GO=$(GO) bench/setup.sh
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./bench
	$(say) 'benchmark: all proxies, one after the other (docs/performance.md)'
	@bin/bench $(BENCH)

# From a directory whose name may be in what is committed, and with every file in it.
pgo: ## Renew PGO, by which "make build" optimises, from what the benchmark asks (root the first time)
	$(say) 'benchmark: installing what is missing'
	@GO=$(GO) bench/setup.sh
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/bench ./bench
	@dir=$$(mktemp -d /tmp/vestibule-pgo-XXXXXX) && trap 'rm -r "$$dir"' EXIT && \
	CGO_ENABLED=0 $(GO) build -trimpath -o $$dir/vestibule ./cmd/vestibule && \
	bin/bench -dir $$dir/runs -rounds 1 -requests 2000 -work h1,h2,h1-logged,h2-logged -targets vestibule -vestibule $$dir/vestibule -profile 30 && \
	$(GO) tool pprof -proto $$dir/runs/vestibule-*.pprof > $$dir/merged && \
	cp $$dir/merged $(PGO)
	$(say) 'wrote $(PGO); measure before you commit it (docs/performance.md)'

microbench: ## Run the benchmarks of routing and proxy by themselves
	@$(GO) test -run '^$$' -bench . -benchmem ./routing/ ./proxy/

# Go makes what it finds interesting smaller for up to a minute, and tries nothing else
# meanwhile: two seconds leave the time to the search.
fuzz: ## Run each fuzz target for FUZZTIME
	@grep -HoE '^func Fuzz[A-Za-z0-9_]+' $(GOFILES) | sed 's/:func / /' | while read -r file target; do \
		echo "==> $$target in $$(dirname "$$file"), $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s "$$(dirname "$$file")" </dev/null || exit 1; done

soak: compiler ## All that takes long: answers, races, both sieges, each fuzz target for SOAKTIME, the unit tests over and over
	@$(MAKE) --no-print-directory answers REQUESTS=$(SOAK_REQUESTS)
	@$(MAKE) --no-print-directory races REQUESTS=$(RACE_REQUESTS)
	@$(MAKE) --no-print-directory siege ENGINE=own
	@$(MAKE) --no-print-directory siege ENGINE=standard
	@$(MAKE) --no-print-directory fuzz FUZZTIME=$(SOAKTIME)
	$(say) 'unit tests ten times in random order'
	@CGO_ENABLED=1 $(GO) test -race -timeout 0 -tags invariants -count=10 -shuffle=on ./...

image: ## Build the container image IMAGE with buildah, podman or docker
	$(if $(BUILDER),,$(error building the image needs buildah, podman or docker (remedy: apt-get install buildah)))
	$(say) 'building $(IMAGE) with $(BUILDER)'
	@$(BUILDER) build $(IMAGE_FORMAT) --build-arg VERSION=$(VERSION) $(IMAGE_FLAGS) -t $(IMAGE) .

screenshot: laboratory-tools ## Renew docs/images/browser.png in the laboratory (root)
	@VESTIBULE_SCREENSHOT=$(CURDIR)/docs/images/browser.png $(GO) test -tags integration -v -count=1 -run TestBrowser ./integration/

docs: ## Write docs/configuration.md from the comments of configs
	@$(GO) run ./docs

clean: ## Remove what was built
	@rm -rf bin
